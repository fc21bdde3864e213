/// The pages of one owner: the page table, and how many of them are where (struct address_space).
///
/// The owner's lock guards it. What changes the state of pages is in PageStates.swift.
@safe
struct PageSet: ~Copyable {
    var table: PageTable
    /// Pages on each node, by the node's place; as long as the last node with pages needs.
    private(set) var byNode: [Int] = []
    /// Pages whose memory failed: entries of the page table without a frame.
    private(set) var markers = 0
    /// Whether they count as anonymous: a program's own memory. Set before there is a page.
    var isAnonymous = false
    /// In whose share of the nodes they count; nil where they do not.
    private(set) var share: FrameShare?
    /// The devices whose MMUs map pages, or whose commands are at work on some.
    var contexts: [DeviceContext] = []

    init(_ pool: TablePool, owner: UInt64) { table = PageTable(pool: pool, owner: owner) }

    /// What the page table's tables are of.
    var pool: TablePool { table.pool }
    /// The nodes that frames are of.
    var nodes: NodeMap { table.pool.nodes }

    /// The number of pages that have a frame.
    var count: Int { byNode.reduce(0, +) }

    /// How many are on a node, by its place.
    func count(onNode index: Int) -> Int { index < byNode.count ? byNode[index] : 0 }

    /// For ``PageTally`` alone.
    mutating func add(_ count: Int, active: Int = 0, node: Int) {
        if active != 0 {
            if isAnonymous {
                nodes[node].counters.activeAnonymous.add(active)
            } else {
                nodes[node].counters.active.add(active)
            }
        }
        if count == 0 { return }
        if byNode.count <= node {
            byNode.append(contentsOf: repeatElement(0, count: node + 1 - byNode.count))
        }
        byNode[node] += count
        if isAnonymous { nodes[node].counters.anonymous.add(count) }
        share?.add(count, node: node)
    }

    /// Has the pages count in another share.
    mutating func setShare(_ share: FrameShare?) {
        for (node, count) in byNode.enumerated() where count > 0 {
            self.share?.add(-count, node: node)
            share?.add(count, node: node)
        }
        self.share = share
    }

    /// For ``PageTally`` alone.
    mutating func add(markers count: Int) { markers += count }

    // MARK: Walks

    /// Calls `body` with every page of a range that has a frame and is meant.
    func forEachMatch(
        _ pages: Range<UInt64>, filter: PageFilter = .all, _ body: (UInt64, UnsafeMutablePointer<UInt64>) -> Void
    ) {
        unsafe table.forEachEntry(pages) { page, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            if entry.isPresent, entry.matches(filter) { unsafe body(page, slot) }
            return true
        }
    }

    /// Whether any page of a range is meant.
    func hasMatch(_ pages: Range<UInt64>, filter: PageFilter) -> Bool {
        var isFound = false
        unsafe table.forEachEntry(pages) { _, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            isFound = entry.isPresent && entry.matches(filter)
            return !isFound
        }
        return isFound
    }

    /// Calls `body` with the markers of a range, in order, until it returns false.
    func forEachMarker(in pages: Range<UInt64>, _ body: (UInt64, UnsafeMutablePointer<UInt64>) -> Bool) {
        guard markers > 0 else { return }
        unsafe table.forEachEntry(pages) { page, slot in
            unsafe PageTableEntry(rawValue: slot.pointee).marker == nil || body(page, slot)
        }
    }

    /// The first page of a range whose memory failed.
    func firstMarker(in pages: Range<UInt64>) -> UInt64? {
        var first: UInt64?
        unsafe forEachMarker(in: pages) { page, _ in
            first = page
            return false
        }
        return first
    }

    /// Whether none of 512 pages has a frame.
    func isEmpty(_ unit: Range<UInt64>) -> Bool {
        guard let next = table.nextLeaf(from: unit.lowerBound) else { return true }
        return next.base >= unit.upperBound
    }

    /// Calls `body` with the runs of pages that have no frame, until it returns false.
    func forEachMissingStretch(of pages: Range<UInt64>, _ body: (Range<UInt64>) -> Bool) {
        var start = firstMissing(of: pages)
        while start < pages.upperBound {
            let end = table.firstEntry(in: start..<pages.upperBound) ?? pages.upperBound
            guard body(start..<end) else { return }
            start = firstMissing(of: end..<pages.upperBound)
        }
    }

    /// How many pages of a range have no frame.
    func missing(of pages: Range<UInt64>) -> Int {
        var missing = 0
        forEachMissingStretch(of: pages) { stretch in
            missing += stretch.count
            return true
        }
        return missing
    }

    /// The first pages of a range that have no frame.
    func missingStretch(of pages: Range<UInt64>) -> Range<UInt64>? {
        var first: Range<UInt64>?
        forEachMissingStretch(of: pages) { stretch in
            first = stretch
            return false
        }
        return first
    }

    /// The first page of a range that has no frame; its end where all have one.
    func firstMissing(of pages: Range<UInt64>) -> UInt64 {
        var page = pages.lowerBound
        while page < pages.upperBound, let leaf = table.leaf(of: page) {
            let entries = unsafe table.entries(of: leaf)
            let stop = min(pages.upperBound, TablePool.leafEnd(of: page))
            while page < stop, unsafe entries[TablePool.slot(of: page)] != 0 { page += 1 }
            if page < stop { break }
        }
        return page
    }
}
