import LinuxSupport
import SystemPackage

/// The state of a device's link.
public enum LinkState: String, Sendable, Hashable, CaseIterable {
    /// The link is up.
    case up
    /// The link is down, and the pages on the device are lost.
    case down
}

/// The treatment of tasks that map memory that is lost with a device's link.
public enum LossPolicy: String, Sendable, Hashable, CaseIterable {
    /// They get SIGBUS when they touch it.
    case touch
    /// They get SIGBUS at once (PR_MCE_KILL_EARLY).
    case sigbus
    /// They are killed at once.
    case sigkill
}

/// Pages of a buffer that are lost with their device.
public struct LostMemory: Sendable {
    /// The buffer.
    public let buffer: Buffer
    /// The ranges of the pages in the buffer, in bytes, ascending.
    public let ranges: [Range<UInt64>]

    /// The size in bytes.
    public var length: UInt64 { ranges.reduce(0) { $0 + UInt64($1.count) } }
}

extension Machine {
    /// Cuts the link of a device, as when a cable is pulled: the node disappears with all its blocks, and every page on
    /// it is lost. Touches of these pages fail until they are taken out of their buffers; pages elsewhere are not
    /// affected.
    ///
    /// Blocks until the pages have left the page cache; never call it from a thread that the page cache may wait for.
    /// Does nothing while the link is down.
    ///
    /// - Parameter onLoss: called with the lost memory after touches no longer find it, before the page cache releases
    ///   it.
    public func cutLink(of device: Device, _ onLoss: ([LostMemory]) -> Void = { _ in }) {
        guard device.takeLink(.down) else { return }
        let node = device.node
        let wasPresent = node.zone.withLock { zone in
            guard node.isPresent else { return false }
            // From here on nobody gets a frame of the node, and nobody finds it.
            for block in zone.presentBlocks { note(.blockRemoved(number(ofBlock: block, of: node))) }
            node.reincarnate()
            note(.nodeRemoved(node.id))
            return true
        }
        note(.link(name: device.name, .down))
        announce(.link(name: device.name, .down))
        guard wasPresent else { return }
        device.isSevered = true
        // What waits for the device to be ready waits no longer.
        device.queue.ring()
        node.cancelMigrations()
        tasks.nodesChanged(in: self)
        // Whatever changes the device's state finds that it is gone, and ends.
        while failure({ () throws(Errno) in
            try device.replace { () throws(Errno) in lose(device, onLoss) }
        }) != nil { try? pause() }
    }

    /// Restores the link of a device whose link was cut; ``rescan()`` then finds it. Does nothing while the link is up.
    public func restoreLink(of device: Device) {
        guard device.takeLink(.up) else { return }
        note(.link(name: device.name, .up))
        announce(.link(name: device.name, .up))
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
            try? pause()
            lost = loseAll(of: node)
        }
        invalidate(device.memory, pages: 0..<Page.count(of: device.memory.size))
        abandonBacking(of: device.memory)
        discard(device.memory, pages: 0..<UInt64.max >> Page.shift)
        forgetContexts(of: device)
    }

    /// Takes pages that are lost out of the page cache. What is dirty there is let go when it comes back, which it does
    /// much faster in bulk.
    private func drop(_ memory: LostMemory) {
        for range in memory.ranges {
            let pages = range.lowerBound >> Page.shift..<range.upperBound >> Page.shift
            for first in stride(from: pages.lowerBound, to: pages.upperBound, by: 1024) {
                let part = first..<min(pages.upperBound, first + 1024)
                let next = part.upperBound..<min(pages.upperBound, part.upperBound + 1024)
                if part.count >= 32 { writeBack(memory.buffer, pages: part, next: next) }
                invalidate(memory.buffer, pages: part)
            }
        }
    }

    /// Loses the pages that a buffer has on a node, as if its link were cut.
    func loseMemory(of buffer: Buffer, on node: Node) {
        drop(LostMemory(buffer: buffer, ranges: lose(buffer, on: node)))
    }

    private func loseAll(of node: Node) -> [LostMemory] {
        buffers.compactMap { buffer in
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
                let pages = state.pages(onNode: node.index)
                guard pages > 0 || state.markers > 0, let (_, base) = state.table.nextLeaf(from: position) else {
                    return nil
                }
                if let run = state.contiguous, node.span.contains(run.start) { state.contiguous = nil }
                let unit = HugePage.pages(around: base)
                mark(unit, on: node, in: state)
                for base in stride(from: unit.lowerBound, to: unit.upperBound, by: TablePool.entries) {
                    let part = base..<base + UInt64(TablePool.entries)
                    let runs = detach(part, filter: .onNode(node.index), as: .lost, of: &state, into: &freed).runs
                    for run in runs {
                        Self.append(run.lowerBound << Page.shift..<run.upperBound << Page.shift, to: &ranges)
                    }
                }
                return unit.upperBound
            }
            freed.release(to: self)
            guard let next else { return ranges }
            position = next
        }
    }

    private static func append(_ range: Range<UInt64>, to ranges: inout [Range<UInt64>]) {
        if let last = ranges.last, last.upperBound == range.lowerBound {
            ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
        } else {
            ranges.append(range)
        }
    }

    /// What was poisoned on a node that is gone is as lost as the rest: nobody can clear it any more.
    private func mark(_ pages: Range<UInt64>, on node: Node, in state: borrowing Buffer.State) {
        unsafe forEachMarker(in: pages, of: state) { _, slot in
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
    /// Takes all blocks away at once, in whatever state they are. Nobody has a frame any more.
    mutating func vanish(table: FrameTable) {
        assert(allocated == 0 && pool.usage.used == 0)
        while let unit = pool.dissolve() { surrender(unit, table: table) }
        pool.usage.surplus = 0
        for block in presentBlocks { vanish(block, table: table) }
        failed.retired = 0
    }
}
