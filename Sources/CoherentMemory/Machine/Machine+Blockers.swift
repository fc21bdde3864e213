import LinuxSupport

/// Frames of a node that cannot move.
public struct Blocker: Sendable {
    /// The reason why frames cannot move.
    public enum Reason: String, Sendable, Hashable {
        /// Their buffer is pinned.
        case pinned
        /// Their buffer is contiguous, and no other node has a run for it.
        case contiguous
    }

    /// The buffer of the pages.
    public let buffer: Buffer
    /// The range of the pages in the buffer, in bytes.
    public let bytes: Range<UInt64>
    /// The physical address of the first byte.
    public let physicalAddress: UInt64
    /// The reason.
    public let reason: Reason
}

extension Machine {
    /// The runs of frames that keep a node from going offline, ascending by their physical address.
    public func blockers(of node: Node) -> [Blocker] { blockers(of: node, from: 0, limit: .max) }

    /// The first of them at or behind a physical address, at most `limit`.
    public func blockers(of node: Node, from address: UInt64, limit: Int) -> [Blocker] {
        var lowest: [Blocker] = []
        func sort(keeping count: Int) {
            lowest.sort { $0.physicalAddress < $1.physicalAddress }
            lowest.removeLast(max(0, lowest.count - count))
        }
        let many = limit.multipliedReportingOverflow(by: 2)
        for (buffer, reason) in immovable(on: node) {
            forEachRun(of: buffer, on: node) { bytes, physicalAddress in
                guard physicalAddress >= address else { return }
                lowest.append(
                    Blocker(buffer: buffer, bytes: bytes, physicalAddress: physicalAddress, reason: reason))
                // However many there are, only those that may be wanted are held.
                if !many.overflow, lowest.count >= many.partialValue { sort(keeping: limit) }
            }
        }
        sort(keeping: limit)
        return lowest
    }

    /// Calls `body` with each run of a buffer's pages that lie on a node and follow each other in the buffer and in memory.
    private func forEachRun(of buffer: Buffer, on node: Node, _ body: (Range<UInt64>, UInt64) -> Void) {
        var last: (bytes: Range<UInt64>, physicalAddress: UInt64)?
        buffer.visitPages(in: 0..<UInt64.max >> Page.shift) { page, entry in
            guard node.span.contains(entry.pfn) else { return true }
            let (start, address) = (page << Page.shift, entry.pfn << Page.shift)
            if let run = last, run.bytes.upperBound == start,
                run.physicalAddress + UInt64(run.bytes.count) == address
            {
                last = (run.bytes.lowerBound..<start + Page.size, run.physicalAddress)
            } else {
                if let last { body(last.bytes, last.physicalAddress) }
                last = (start..<start + Page.size, address)
            }
            return true
        }
        if let last { body(last.bytes, last.physicalAddress) }
    }

    /// The buffers that keep a node from going offline.
    private func immovable(on node: Node) -> [(Buffer, Blocker.Reason)] {
        let others = nodeMap.contiguousTargets(beside: node)
        return memory.buffers.compactMap { buffer in
            guard buffer.pages(onNode: node.index) > 0 else { return nil }
            if buffer.isPinned { return (buffer, .pinned) }
            guard let run = buffer.state.withLock({ $0.contiguous }) else { return nil }
            let hasPlace = others.contains { $0.zone.withLock { $0.share.hasRun(of: run.count) } }
            return hasPlace ? nil : (buffer, .contiguous)
        }
    }

    /// Drops the pages on a node that cannot move, and their contents: they are lost, as with a link that is cut. A
    /// contiguous buffer becomes an ordinary one, and reads as zeros. For a forced removal of a node.
    ///
    /// Blocks while the page cache releases the pages; never call it from a thread that the page cache may wait for.
    public func giveUpBlockers(of node: Node) {
        for (buffer, _) in immovable(on: node) {
            if buffer.isContiguous {
                memory.giveUpContiguous(buffer)
            } else {
                failures.loseMemory(of: buffer, on: node)
            }
        }
    }
}
