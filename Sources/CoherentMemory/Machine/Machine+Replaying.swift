import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// What the replay of a trace has the machine do, beside what programs and users do. For one thread.
extension Machine {
    /// Makes it a machine for a replay: its clock stands but for ``setReplayTime(_:)``, its pages have no bytes, and whatever was
    /// stored to is taken for something else than zeros.
    package func beginReplay() {
        memory.clock.stand(at: 0)
        memory.tables.hasContents.store(false, ordering: .relaxed)
    }

    /// Nanoseconds since the begin of the replay.
    package var replayTime: Int64 { memory.clock.standing }

    /// Sets ``replayTime``, which never goes back.
    package func setReplayTime(_ nanoseconds: Int64) { memory.clock.stand(at: max(replayTime, nanoseconds)) }

    /// Gives pages frames as a touch does.
    ///
    /// - Parameter isCached: whether the page cache has them from then on.
    /// - Throws: ENOMEM, EPERM and EDQUOT as a touch of these pages would.
    package func touch(_ buffer: Buffer, _ request: TouchRequest, origin: Origin, isCached: Bool) throws(Errno) {
        let origin = memory.resolvingAccess(origin, for: buffer, pages: request.pages)
        try buffer.state.withLock { state throws(Errno) in
            let end = try state.populate(request.pages, in: memory, origin: origin, policy: request.shortage)
            guard isCached, end > request.pages.lowerBound else { return }
            state.pages.update(request.pages.lowerBound..<end) { $1.isCached = true }
        }
    }

    /// Sets the size of a buffer. Unlike a truncation it frees no pages.
    package func setSize(_ size: UInt64, of buffer: Buffer) {
        guard buffer.fixedSize == nil, !buffer.isAnonymous, size <= UInt64(Int64.max) else { return }
        buffer.state.withLock { if $0.contiguous == nil { $0.size = size } }
        trace.note(.size, of: buffer, size)
    }

    /// Makes a buffer at least so long as to have pages.
    package func extend(_ buffer: Buffer, to pages: UInt64) {
        guard buffer.fixedSize == nil, !buffer.isAnonymous, pages <= UInt64(Int64.max) >> Page.shift else { return }
        buffer.state.withLock { if $0.contiguous == nil { $0.size = max($0.size, pages << Page.shift) } }
    }

    /// Gives pages without frames those of a node, whatever policies say, as far as it has any.
    package func place(_ pages: Range<UInt64>, of buffer: Buffer, on node: Node) {
        var position = pages.lowerBound
        while position < pages.upperBound {
            let part = position..<min(pages.upperBound, HugePage.pages(around: position).upperBound)
            position = part.upperBound
            let isPlaced = buffer.state.withLock { state in
                var context = AllocationContext(
                    policy: EffectivePolicy(mode: .bind, nodes: NodeMask([node.index])), local: node.index, process: 0)
                context.isDevice = true
                let origin = Origin(pid: 0, node: node.id)
                let end = try? state.fill(
                    part, in: memory, for: context, origin: origin, policy: .prefix, followsRequest: true)
                return end == part.upperBound
            }
            guard isPlaced else { return }
        }
    }

    /// Notes that the pages with frames of a range hold something.
    package func noteContents(of buffer: Buffer, pages: Range<UInt64>) {
        buffer.state.withLock { state in
            guard state.backing == nil, !state.isAnonymous else { return }
            state.pages.update(pages) { $1.isWritten = true }
        }
    }

    /// Takes pages out of a buffer, as a hole or a smaller size does.
    package func discard(_ buffer: Buffer, pages: Range<UInt64>) {
        if buffer.isContiguous { return }
        memory.discard(buffer, pages: pages)
        trace.noteFreed(pages, of: buffer.id)
    }

    /// Sets what is in force for the touches of a thread.
    package func setRecordedPlacement(_ policy: MemoryPolicy, allowed: IDSet?, of task: Int32) {
        memory.placer.tasks.setRecorded(policy, allowed: allowed, of: task)
    }

    /// Executes a command of a device at once.
    package func execute(_ command: DeviceCommand, on device: Device, by task: Int32) {
        for range in command.ranges { extend(range.buffer, to: Page.count(of: range.bytes.upperBound)) }
        _ = engine.execute(command, on: device, by: task)
        _ = device.queue.waitUntilIdle(seconds: 600)
    }

    /// The physical address of a page; nil for one without a frame.
    package func address(of page: UInt64, of buffer: Buffer) -> UInt64? {
        let entry = buffer.state.withLock { $0.pages.table[page] }
        return entry.isPresent ? entry.pfn << Page.shift : nil
    }

    // MARK: Background

    /// When kswapd and automatic balancing have something to do.
    package struct BackgroundWork {
        var kswapd = Reclaimer.KswapdSchedule()
        var scan = Balancer.ScanSchedule()

        package init() {}

        /// Leaves out what was due before a moment, for nothing comes of it.
        package mutating func skip(to machine: Machine) {
            kswapd.skip(to: machine.memory.clock.now)
            scan.next = scan.next.map { max($0, machine.memory.clock.now) }
        }
    }

    /// Does what kswapd and balancing would do at this moment.
    package func doBackgroundWork(_ work: inout BackgroundWork, waitForUse: () -> Void) {
        balancer.balance(&work.scan) { false }
        guard isDemotionEnabled else { return }
        reclaimer.balance(&work.kswapd, isCancelled: { false }, waitForUse: waitForUse)
    }

    /// Moves what balancing has found misplaced.
    package func moveMisplaced() { balancer.moveMisplaced { false } }

    /// When, in nanoseconds of ``replayTime``, there is work without another event; nil for never.
    package func nextBackgroundWork(_ work: BackgroundWork) -> Int64? {
        let moments = [isDemotionEnabled ? work.kswapd.next : nil, work.scan.next].compactMap { $0 }
        guard let next = moments.min() else { return nil }
        let (seconds, attoseconds) = memory.clock.now.duration(to: next).components
        return replayTime + seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }

    /// How long reclaim waits for the use of pages, in nanoseconds.
    package static var reuseTime: Int64 { Reclaimer.reuseTime.components.attoseconds / 1_000_000_000 }
}
