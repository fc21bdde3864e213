/// Gathers what changes of page table entries change of the counters of nodes and of their owner, so that these change once a
/// run of pages of one node rather than once a page. No counter of pages changes anywhere else.
///
/// Must be flushed before the owner's lock is given up.
struct PageTally: ~Copyable {
    /// Changes of one node's counters.
    private struct Part {
        var node: Node?
        var (pages, active, cached, written, huge) = (0, 0, 0, 0, 0)

        @inline(__always)
        mutating func add(_ entry: PageTableEntry, _ sign: Int) {
            pages += sign
            active += entry.isActive ? sign : 0
            cached += entry.isCached ? sign : 0
            written += entry.isWritten ? sign : 0
            if entry.isHuge, !entry.isPooled, entry.pfn % UInt64(HugePage.frames) == 0 { huge += sign }
        }

        /// Changes the node's counters, and returns how many pages it got.
        mutating func flush() -> (node: Int, pages: Int)? {
            guard let node else { return nil }
            if active != 0 { node.counters.active.add(active) }
            if cached != 0 { node.counters.cached.add(cached) }
            if written != 0 { node.counters.written.add(written) }
            if huge != 0 { node.counters.huge.add(huge) }
            let result = (node.index, pages)
            self = Part()
            return result.1 == 0 ? nil : result
        }
    }

    private let nodes: NodeMap
    /// What went from a node, and what came to one or changed there.
    private var left = Part()
    private var came = Part()
    private var markers = 0
    /// Pages that nodes got before the present ones, by the nodes' places.
    private var earlier: [(node: Int, pages: Int)] = []

    init(_ nodes: NodeMap) { self.nodes = nodes }

    /// Changes an entry.
    @inline(__always)
    mutating func set(_ slot: UnsafeMutablePointer<UInt64>, to new: PageTableEntry) {
        count(PageTableEntry(rawValue: unsafe slot.pointee), new)
        unsafe slot.pointee = new.rawValue
    }

    /// Counts the change of an entry that its caller makes.
    @inline(__always)
    mutating func count(_ old: PageTableEntry, _ new: PageTableEntry) {
        if PageTableEntry.differ(old, new) { add(old, new) }
    }

    private mutating func add(_ old: PageTableEntry, _ new: PageTableEntry) {
        if new.isPresent {
            if came.node?.span.contains(new.pfn) != true { Self.select(nodes.node(of: new.pfn), &came, &earlier) }
            came.add(new, 1)
            if old.isPresent, came.node!.span.contains(old.pfn) { return came.add(old, -1) }
        } else if new.marker != nil {
            markers += 1
        }
        if old.isPresent {
            if left.node?.span.contains(old.pfn) != true { Self.select(nodes.node(of: old.pfn), &left, &earlier) }
            left.add(old, -1)
        } else if old.marker != nil {
            markers -= 1
        }
    }

    /// Counts pages that got frames that follow each other.
    mutating func count(_ pages: Int, from first: PageTableEntry, of node: Node) {
        if came.node !== node { Self.select(node, &came, &earlier) }
        came.pages += pages
        if first.isHuge, !first.isPooled { came.huge += pages / HugePage.frames }
    }

    private static func select(_ node: Node, _ part: inout Part, _ earlier: inout [(node: Int, pages: Int)]) {
        if let done = part.flush() { earlier.append(done) }
        part.node = node
    }

    /// Changes the counters.
    mutating func flush(in set: inout PageSet) {
        if let done = left.flush() { set.add(done.pages, node: done.node) }
        if let done = came.flush() { set.add(done.pages, node: done.node) }
        if !earlier.isEmpty {
            for done in earlier { set.add(done.pages, node: done.node) }
            earlier = []
        }
        if markers != 0 { set.add(markers: markers) }
        markers = 0
    }
}
