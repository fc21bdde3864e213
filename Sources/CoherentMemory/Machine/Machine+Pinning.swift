import LinuxSupport
import MachineTopology
import SystemPackage

extension Machine {
    /// Pins the pages of a buffer, including later ones, or unpins them (mlock(2), and the longterm pins of mm/gup.c).
    /// Pinned pages do not move, except those of a contiguous buffer that is being copied: that move is completed.
    ///
    /// As in Linux they leave the active list: pinned pages are on no list. Later pages are never on a node that does not
    /// allow pins.
    ///
    /// - Throws: EPERM if a page is on such a node; then the buffer is not pinned, and no page has moved.
    public func setPinned(_ isPinned: Bool, of buffer: Buffer) throws(Errno) {
        let hasChanged = try buffer.state.withLock { state throws(Errno) in
            if isPinned, nodes.contains(where: { !$0.allows(.longtermPin) && state.pages.count(onNode: $0.index) > 0 })
            {
                throw .notPermitted
            }
            defer { state.isPinned = isPinned }
            return state.isPinned != isPinned
        }
        guard hasChanged else { return }
        trace.note(.pinned, of: buffer, isPinned ? 1 : 0)
        memory.pinned.withLock { pinned in
            // In the order of the buffer's state, which other threads set, too.
            if buffer.isPinned { pinned.insert(buffer.id) } else { pinned.remove(buffer.id) }
        }
        guard isPinned else { return }
        var position: UInt64? = 0
        while let page = position {
            position = buffer.state.withLock { state in
                guard state.isPinned, let (_, base) = state.pages.table.nextLeaf(from: page) else { return nil }
                let leaf = base..<base + UInt64(TablePool.entries)
                state.pages.update(leaf) { $1.isActive = false }
                return leaf.upperBound
            }
        }
    }

    /// The number of pinned pages of a node, without reserved huge ones (NR_UNEVICTABLE and NR_MLOCK).
    public func pinnedPages(on node: Node) -> Int {
        // Not under its lock: that of a buffer comes first.
        memory.pinned.withLock { $0 }.reduce(0) { sum, id in
            guard let buffer = memory.buffer(id: id), buffer.hugeMode != .pool else { return sum }
            return sum + buffer.pages(onNode: node.index)
        }
    }

    /// The number of pages of a node that programs have locked (mlock(2)): of their own memory, and of memory that they share.
    public func lockedPages(on node: Node) -> (own: Int, shared: Int) {
        var sum = (own: 0, shared: 0)
        for space in memory.locked.withLock({ $0 }).compactMap({ memory.buffer(id: $0) }) {
            let (count, isAnonymous) = space.state.withLock { state in
                var count = 0
                for range in state.locked.ranges {
                    unsafe state.pages.forEachMatch(range, filter: .onNode(node.span)) { _, _ in count += 1 }
                }
                return (count, state.pages.isAnonymous)
            }
            if isAnonymous { sum.own += count } else { sum.shared += count }
        }
        return sum
    }
}
