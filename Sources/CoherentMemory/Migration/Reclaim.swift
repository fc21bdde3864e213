import Synchronization
import SystemPackage

extension Machine {
    /// Frees pages of a node (nodeN/reclaim). Without swap that is what holds nothing but zeros, and, if there is a slower
    /// tier to take them, pages moved there.
    ///
    /// Blocks until then; never call it from a thread that the page cache may wait for. Reserved huge pages are not
    /// touched; other ones are freed if all of them is zero, and moved as a whole.
    ///
    /// - Parameters:
    ///   - pages: how many to free; a little more where a huge page is moved.
    ///   - targets: nodes of slower tiers, the nearest first; none to leave pages where they are.
    /// - Returns: how many pages were freed, less than asked when there were no more.
    /// - Throws: EBUSY while somebody else reclaims the node's memory, EINTR when cancelled; what was freed stays free.
    @discardableResult
    public func reclaim(
        _ pages: Int, of node: Node, demotingTo targets: [Node], isCancelled: () -> Bool = { false }
    ) throws(Errno) -> Int {
        guard !node.isReclaiming.exchange(true, ordering: .acquiring) else { throw .resourceBusy }
        defer { node.isReclaiming.store(false, ordering: .releasing) }
        var freed = 0
        // What had to be written back first is known to be out of the cache only at the second look.
        for isDemoting in [false, false, true] where !isDemoting || !targets.isEmpty {
            for buffer in buffers where buffer.pages(onNode: node.index) > 0 && buffer.hugeMode != .pool {
                var page: UInt64 = 0
                while freed < pages, let next = buffer.nextPage(from: page) {
                    if isCancelled() { throw .interrupted }
                    let batch = HugePage.pages(around: next)
                    let part = max(page, next)..<batch.upperBound
                    if isDemoting {
                        freed += demote(part, of: buffer, from: node, to: targets, limit: pages - freed)
                    } else {
                        freed += dropZeros(part, of: buffer, from: node, limit: pages - freed)
                    }
                    page = batch.upperBound
                }
            }
        }
        return freed
    }

    /// Where pages to reclaim lie: at most `limit`, but a huge page as a whole.
    private func span(
        _ pages: Range<UInt64>, of state: borrowing Buffer.State, filter: PageFilter, limit: Int,
        where takes: (PageTableEntry) -> Bool
    ) -> Range<UInt64>? {
        var span: Range<UInt64>?
        var count = 0
        var isHuge = false
        unsafe forEachMatch(pages, filter: filter, in: state) { page, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            guard count < limit || isHuge, takes(entry) else { return }
            count += 1
            isHuge = entry.isHuge
            span = (span?.lowerBound ?? page)..<page + 1
        }
        return span
    }

    private func dropZeros(_ pages: Range<UInt64>, of buffer: Buffer, from node: Node, limit: Int) -> Int {
        buffer.migrationTurn.withLock { _ in
            var isCached = false
            // What programs stored and the kernel did not write back yet shows once the page has left its cache.
            let found = buffer.state.withLock { state -> Range<UInt64>? in
                guard let found = span(pages, of: state, filter: .onNode(node.index), limit: limit, where: isZero)
                else { return nil }
                var uncached = PageTally()
                unsafe forEachMatch(found, filter: .onNode(node.index), in: state) { _, slot in
                    var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                    guard entry.isCached, isZero(entry) else { return }
                    isCached = true
                    entry.isCached = false
                    uncached.add(entry.pfn, in: self) { $0.counters.cached.add(-$1) }
                    unsafe slot.pointee = entry.rawValue
                }
                uncached.flush { $0.counters.cached.add(-$1) }
                return found
            }
            guard let found else { return 0 }
            if isCached { invalidate(buffer, pages: found) }
            return discard(buffer, pages: found, .zeros(node: node.index))
        }
    }

    private func demote(
        _ pages: Range<UInt64>, of buffer: Buffer, from node: Node, to targets: [Node], limit: Int
    ) -> Int {
        let found = buffer.state.withLock { state in
            span(pages, of: state, filter: .onNode(node.index), limit: limit) { _ in true }
        }
        guard let found else { return 0 }
        _ = writeBackAhead(of: buffer, from: found.lowerBound, to: found.upperBound, filter: .onNode(node.index))
        let outcome = buffer.migrationTurn.withLock { _ in
            moveBatch(of: buffer, pages: found, filter: .onNode(node.index), targets: targets)
        }
        node.counters.demoted.add(outcome.moved)
        return outcome.moved
    }
}
