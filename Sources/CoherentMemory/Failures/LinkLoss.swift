import LinuxSupport
import MachineTopology
import SystemPackage

/// Pages of a buffer that are lost with their device.
public struct LostMemory: Sendable {
    /// The buffer.
    public let buffer: Buffer
    /// The ranges of the pages in the buffer, in bytes, ascending.
    public let ranges: [Range<UInt64>]

    /// The length in bytes.
    public var length: UInt64 { ranges.reduce(0) { $0 + UInt64($1.count) } }
}

extension Failures {
    /// See ``Machine/cutLink(of:_:)``.
    func cutLink(of device: Device, _ onLoss: ([LostMemory]) -> Void = { _ in }) {
        guard device.takeLink(.down) else { return }
        memory.trace.noteLink(of: device, .down)
        let node = device.node
        let wasPresent = node.zone.withLock { zone in
            guard node.isPresent else { return false }
            // From here on no page gets a frame of the node, and no lookup finds it.
            for block in zone.presentBlocks { events.note(.blockRemoved(nodes.number(ofBlock: block, of: node))) }
            node.reincarnate(isLoss: true)
            events.note(.nodeRemoved(node.id))
            return true
        }
        events.note(.link(name: device.name, .down))
        events.announce(.link(name: device.name, .down))
        guard wasPresent else { return }
        device.isSevered = true
        // What waits for the device to be ready waits no longer.
        device.queue.ring()
        node.cancelMigrations()
        memory.placer.tasks.nodesChanged(in: nodes)
        // Whatever changes the device's state finds that it is gone, and ends.
        while failure({ () throws(Errno) in
            try device.replace { () throws(Errno) in lose(device, onLoss) }
        }) != nil { SystemThread.sleep(for: .microseconds(100)) }
    }

    /// See ``Machine/restoreLink(of:)``.
    func restoreLink(of device: Device) {
        guard device.takeLink(.up) else { return }
        memory.trace.noteLink(of: device, .up)
        events.note(.link(name: device.name, .up))
        events.announce(.link(name: device.name, .up))
    }

    private func failure(_ body: () throws(Errno) -> Void) -> Errno? {
        do throws(Errno) {
            try body()
            return nil
        } catch {
            return error
        }
    }

    private func lose(_ device: Device, _ onLoss: ([LostMemory]) -> Void) {
        let node = device.node
        var lost = loseAll(of: node)
        onLoss(lost)
        while true {
            for memory in lost { drop(memory) }
            let isEmpty = node.zone.withLock { zone in
                guard zone.allocated == 0, zone.pool.usage.used == 0 else { return false }
                zone.vanish(table: node.frames)
                return true
            }
            if isEmpty { break }
            // A frame that is neither mapped nor free is on its way, to its first page table or home, and arrives.
            SystemThread.sleep(for: .microseconds(100))
            lost = loseAll(of: node)
        }
        memory.discardAll(of: device.memory)
        memory.forgetContexts(of: device.mmu)
    }

    /// Takes pages that are lost out of the page cache. What is dirty there is let go when it comes back, which it does
    /// much faster in bulk.
    private func drop(_ lost: LostMemory) {
        for range in lost.ranges {
            let pages = range.lowerBound >> Page.shift..<range.upperBound >> Page.shift
            for first in stride(from: pages.lowerBound, to: pages.upperBound, by: 1024) {
                let part = first..<min(pages.upperBound, first + 1024)
                let next = part.upperBound..<min(pages.upperBound, part.upperBound + 1024)
                if part.count >= 32 { memory.writeBack(lost.buffer, pages: part, next: next) }
                memory.invalidate(lost.buffer, pages: part)
            }
        }
    }

    /// Loses the pages that a buffer has on a node, as if its link were cut.
    func loseMemory(of buffer: Buffer, on node: Node) {
        drop(LostMemory(buffer: buffer, ranges: lose(buffer, on: node)))
    }

    private func loseAll(of node: Node) -> [LostMemory] {
        memory.buffers.compactMap { buffer in
            let ranges = lose(buffer, on: node)
            return ranges.isEmpty ? nil : LostMemory(buffer: buffer, ranges: ranges)
        }
    }

    private func lose(_ buffer: Buffer, on node: Node) -> [Range<UInt64>] {
        var ranges: [Range<UInt64>] = []
        var position: UInt64 = 0
        while true {
            var freed = FreedFrames(isUnlimited: true)
            let next = buffer.state.withLock { state -> UInt64? in
                guard state.pages.count(onNode: node.index) > 0 || state.pages.markers > 0,
                    let (_, base) = state.pages.table.nextLeaf(from: position)
                else {
                    return nil
                }
                if let run = state.contiguous, node.span.contains(run.start) { state.contiguous = nil }
                let unit = HugePage.pages(around: base)
                mark(unit, on: node, in: state)
                for base in stride(from: unit.lowerBound, to: unit.upperBound, by: TablePool.entries) {
                    let part = base..<base + UInt64(TablePool.entries)
                    let runs = state.poison(part, filter: .onNode(node.span), as: .lost, into: &freed).runs
                    for run in runs {
                        noteLost(run, of: buffer, on: node)
                        Self.append(run.lowerBound << Page.shift..<run.upperBound << Page.shift, to: &ranges)
                    }
                }
                return unit.upperBound
            }
            freed.release(to: memory.tables)
            guard let next else { return ranges }
            position = next
        }
    }

    private func noteLost(_ pages: Range<UInt64>, of buffer: Buffer, on node: Node) {
        guard memory.trace.isEnabled(.pagesLost) else { return }
        memory.trace.record(
            TraceEvent(
                .pagesLost, buffer: buffer.id, start: pages.lowerBound, count: UInt64(pages.count),
                from: UInt16(node.id)))
    }

    private static func append(_ range: Range<UInt64>, to ranges: inout [Range<UInt64>]) {
        if let last = ranges.last, last.upperBound == range.lowerBound {
            ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
        } else {
            ranges.append(range)
        }
    }

    /// What was poisoned on a node that is gone is as lost as the rest: it cannot be cleared any more.
    private func mark(_ pages: Range<UInt64>, on node: Node, in state: borrowing Buffer.State) {
        unsafe state.pages.forEachMarker(in: pages) { _, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            if node.span.contains(entry.pfn) {
                unsafe slot.pointee =
                    PageTableEntry(
                        marking: .lost, of: entry, keepsBytes: entry.isWritten
                    ).rawValue
            }
            return true
        }
    }
}

extension Zone {
    /// Takes all blocks away at once, in whatever state they are. No frame has an owner any more.
    mutating func vanish(table: FrameTable) {
        assert(allocated == 0 && pool.usage.used == 0)
        while let unit = pool.dissolve(isLost: true) { freeHugePage(unit, table: table) }
        pool.usage.surplus = 0
        for block in presentBlocks { vanish(block, table: table) }
        failed.retired = 0
    }
}
