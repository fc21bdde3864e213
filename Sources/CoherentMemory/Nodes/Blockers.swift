import SystemPackage

/// Frames of a node that cannot be moved away.
public struct Blocker: Sendable {
    /// Why they cannot.
    public enum Reason: String, Sendable, Hashable {
        /// Their buffer is pinned.
        case pinned
        /// Their buffer is contiguous, and no other node has a run for it.
        case contiguous
    }

    /// Whose pages they are.
    public let buffer: Buffer
    /// Where the pages are in the buffer, in bytes.
    public let bytes: Range<UInt64>
    /// The physical address of the first byte.
    public let physicalAddress: UInt64
    /// Why.
    public let reason: Reason
}

extension Machine {
    /// What keeps a node from going offline: runs of frames, ascending by their physical address.
    public func blockers(of node: Node) -> [Blocker] {
        immovable(on: node).flatMap { buffer, reason in
            runs(of: buffer).filter { $0.node == node.id && !$0.isPoisoned && !$0.isLost }.map { run in
                Blocker(
                    buffer: buffer, bytes: run.offset..<run.offset + run.length, physicalAddress: run.physicalAddress,
                    reason: reason)
            }
        }.sorted { $0.physicalAddress < $1.physicalAddress }.reduce(into: []) { merged, next in
            if let last = merged.last, last.buffer === next.buffer, last.reason == next.reason,
                last.bytes.upperBound == next.bytes.lowerBound,
                last.physicalAddress + UInt64(last.bytes.count) == next.physicalAddress
            {
                merged[merged.count - 1] = Blocker(
                    buffer: last.buffer, bytes: last.bytes.lowerBound..<next.bytes.upperBound,
                    physicalAddress: last.physicalAddress, reason: last.reason)
            } else {
                merged.append(next)
            }
        }
    }

    /// The buffers that keep a node from going offline.
    private func immovable(on node: Node) -> [(Buffer, Blocker.Reason)] {
        let others = contiguousTargets(beside: node)
        return buffers.compactMap { buffer in
            guard buffer.pages(onNode: node.index) > 0 else { return nil }
            if buffer.isPinned { return (buffer, .pinned) }
            guard let run = buffer.state.withLock({ $0.contiguous }) else { return nil }
            let hasPlace = others.contains { $0.zone.withLock { $0.share.hasRun(of: run.count) } }
            return hasPlace ? nil : (buffer, .contiguous)
        }
    }

    /// Gives up the pages on a node that cannot be moved away, and what they hold: they are lost, as with a link that is cut.
    /// A contiguous buffer is so no more, and reads as zeros. For a node that goes whatever it costs.
    ///
    /// Blocks while the page cache gives up the pages; never call it from a thread that the page cache may wait for.
    public func giveUpBlockers(of node: Node) {
        for (buffer, _) in immovable(on: node) {
            if buffer.isContiguous {
                giveUpContiguous(buffer)
            } else {
                loseMemory(of: buffer, on: node)
            }
        }
    }
}
