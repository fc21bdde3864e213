import LinuxSupport

/// Consecutive pages of a buffer on one node, consecutive in physical memory, and in the same condition.
public struct PageRun: Sendable, Hashable {
    /// The offset in the buffer in bytes.
    public var offset: UInt64
    /// Bytes.
    public var length: UInt64
    /// The id of the node.
    public var node: Int
    /// The physical address of the first byte.
    public var physicalAddress: UInt64
    /// Whether the pages were stored to.
    public var isDirty: Bool
    /// Whether the pages are parts of huge pages.
    public var isHuge: Bool
    /// Whether the pages cannot move.
    public var isPinned: Bool
    /// Whether a migration is about to copy the pages.
    public var isMigrating: Bool
    /// Whether the pages' memory failed: they have no frame, and the address is that of their last one.
    public var isPoisoned = false
    /// The same, because their node was removed with its device.
    public var isLost = false
}

/// The resident pages of a range of a buffer.
public struct ResidentPages: Sendable, Hashable {
    /// Pages that were stored to.
    public var written = 0
    /// Pages on each node, ascending by node id; nodes without pages are left out.
    public var nodes: [(node: Int, pages: Int)] { counts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }
    /// All pages that have a frame.
    public var total: Int { counts.values.reduce(0, +) }

    fileprivate var counts: [Int: Int] = [:]
}

extension Buffer {
    /// Calls `body` with every page of a range that has a frame, in order.
    ///
    /// - Parameter includingFailed: whether with those that failed, too.
    func forEachPage(
        in pages: Range<UInt64>, includingFailed: Bool = false, _ body: (UInt64, PageTableEntry) -> Void
    ) {
        visitPages(in: pages, includingFailed: includingFailed) { page, entry in
            body(page, entry)
            return true
        }
    }

    /// The same, as long as `body` says to go on.
    func visitPages(
        in pages: Range<UInt64>, includingFailed: Bool = false, _ body: (UInt64, PageTableEntry) -> Bool
    ) {
        var position: UInt64? = pages.lowerBound
        while let start = position, start < pages.upperBound {
            // A few leaves at a time: the lock is not held for as long as a large buffer takes.
            position = state.withLock { state in
                guard let (_, base) = state.pages.table.nextLeaf(from: start) else { return nil }
                let end = base + UInt64(64 * TablePool.entries)
                var isOver = false
                unsafe state.pages.table.forEachEntry(start..<min(pages.upperBound, end)) { page, slot in
                    let entry = PageTableEntry(rawValue: unsafe slot.pointee)
                    if entry.isPresent || includingFailed { isOver = !body(page, entry) }
                    return !isOver
                }
                return isOver ? nil : end
            }
        }
    }

    /// How many pages of a range are meant.
    func count(_ pages: Range<UInt64>, _ filter: PageFilter) -> Int {
        var count = 0
        forEachPage(in: pages) { _, entry in if entry.matches(filter) { count += 1 } }
        return count
    }

    /// What a range of pages has in memory.
    func resident(in pages: Range<UInt64>, of nodes: NodeMap) -> ResidentPages {
        var result = ResidentPages()
        forEachPage(in: pages) { _, entry in
            result.counts[nodes.node(of: entry.pfn).id, default: 0] += 1
            if entry.isWritten { result.written += 1 }
        }
        return result
    }

    /// The first runs of pages from one on, `limit` at most.
    func runs(from first: UInt64, limit: Int, in nodes: NodeMap) -> [PageRun] {
        guard first < UInt64.max >> Page.shift else { return [] }
        // One more, for only by that is it known where the last one ends.
        let enough = limit == .max ? limit : limit + 1
        var list = PageRunList(nodes: nodes, isPinned: isPinned)
        if isDirect {
            appendDirectRuns(from: first, upTo: enough, to: &list)
        } else {
            visitPages(in: first..<UInt64.max >> Page.shift, includingFailed: true) { page, entry in
                list.append(entry, page: page, isDirty: entry.isWritten)
                return list.runs.count < enough
            }
        }
        if list.runs.count > limit { list.runs.removeLast() }
        return list.runs
    }

    /// Appends runs of pages of a direct buffer, at least `enough` in all if there are as many. As stores are not seen, what
    /// was ever touched counts as dirty.
    private func appendDirectRuns(from first: UInt64, upTo enough: Int, to list: inout PageRunList) {
        // A part after the other, for what is touched may be in many pieces.
        let part: UInt64 = 4096
        var start = first
        // Not only within the size: a huge page may reach behind the end.
        while list.runs.count < enough, let next = nextPage(from: start) {
            let pages = next..<next + part
            let touched = touchedPages(in: pages)
            var place = 0
            forEachPage(in: pages, includingFailed: true) { page, entry in
                while place < touched.count, touched[place].upperBound <= page { place += 1 }
                let isTouched = place < touched.count && touched[place].contains(page)
                list.append(entry, page: page, isDirty: isTouched && entry.isPresent)
            }
            start = pages.upperBound
        }
        if list.runs.count > enough { list.runs.removeLast(list.runs.count - enough) }
    }

    /// The pages of a part of a direct buffer that were touched.
    private func touchedPages(in pages: Range<UInt64>) -> RangeSet<UInt64>.Ranges {
        state.withLock { state in
            var touched = RangeSet<UInt64>()
            let bytes = pages.lowerBound << Page.shift..<pages.upperBound << Page.shift
            state.backing?.forEachData(in: bytes.clamped(to: 0..<state.size)) { bytes in
                touched.insert(contentsOf: bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound))
            }
            return touched.ranges
        }
    }
}

/// Pages, gathered into runs.
private struct PageRunList {
    let nodes: NodeMap
    let isPinned: Bool
    var runs: [PageRun] = []

    mutating func append(_ entry: PageTableEntry, page: UInt64, isDirty: Bool) {
        var run = PageRun(
            offset: page << Page.shift, length: Page.size, node: nodes.node(of: entry.pfn).id,
            physicalAddress: entry.pfn << Page.shift, isDirty: isDirty, isHuge: entry.isHuge,
            isPinned: isPinned && entry.isPresent, isMigrating: entry.isMigrating,
            isPoisoned: entry.marker == .poisoned, isLost: entry.marker == .lost)
        if let last = runs.last {
            // The same but for its place, and right behind?
            let start = (run.offset, run.physicalAddress)
            (run.offset, run.physicalAddress, run.length) = (last.offset, last.physicalAddress, last.length)
            if run == last, start == (last.offset + last.length, last.physicalAddress + last.length) {
                runs[runs.count - 1].length += Page.size
                return
            }
            (run.offset, run.physicalAddress, run.length) = (start.0, start.1, Page.size)
        }
        runs.append(run)
    }
}
