/// Gathers what changes of page table entries change of the counters of nodes and of their owner, so that these change once a
/// run of pages of one node rather than once a page. No counter of pages changes anywhere else.
///
/// Must be flushed before the owner's lock is given up.
struct PageTally: ~Copyable {
    /// What some pages add to the counters of a node.
    private struct Sums {
        var (pages, active, cached, written, huge) = (0, 0, 0, 0, 0)

        @inline(__always)
        mutating func add(_ entry: PageTableEntry, _ sign: Int) {
            pages += sign
            active += entry.isActive ? sign : 0
            cached += entry.isCached ? sign : 0
            written += entry.isWritten ? sign : 0
            if entry.isHuge, !entry.isPooled, entry.pfn % UInt64(HugePage.frames) == 0 { huge += sign }
        }

        /// Changes the counters of a node that do not depend on the owner.
        func apply(to node: Node, _ sign: Int) {
            if cached != 0 { node.counters.cached.add(sign * cached) }
            if written != 0 { node.counters.written.add(sign * written) }
            if huge != 0 { node.counters.huge.add(sign * huge) }
        }
    }

    /// Changes of one node's counters.
    private struct Part {
        var node: Node?
        var sums = Sums()

        @inline(__always)
        mutating func add(_ entry: PageTableEntry, _ sign: Int) { sums.add(entry, sign) }

        /// Changes the node's counters, and returns what the owner is to count.
        mutating func flush() -> Owned? {
            guard let node else { return nil }
            sums.apply(to: node, 1)
            let result = Owned(node: node.index, pages: sums.pages, active: sums.active)
            self = Part()
            return result.pages == 0 && result.active == 0 ? nil : result
        }
    }

    /// Changes of counters that depend on the owner.
    private struct Owned {
        /// The place of the node.
        var node: Int
        var pages: Int
        var active: Int
    }

    /// Pages that went from one node to another, with what they count for on either.
    private struct Moved {
        var from: Node
        var to: Node
        var sums = Sums()
    }

    private let nodes: NodeMap
    /// What went from a node, and what came to one or changed there.
    private var left = Part()
    private var came = Part()
    private var markers = 0
    /// Pages that nodes got before the present ones, by the nodes' places.
    private var earlier: [Owned] = []

    private var moved: Moved
    /// The pages that got other frames, by the nodes that they went from and to; complete once the tally is flushed.
    private(set) var crossings: [Crossing] = []

    init(_ nodes: NodeMap) {
        self.nodes = nodes
        moved = Moved(from: nodes[0], to: nodes[0])
    }

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
        came.sums.pages += pages
        if first.isHuge, !first.isPooled { came.sums.huge += pages / HugePage.frames }
    }

    /// Gives a page another frame; sees to the old one.
    ///
    /// - Parameter entry: what the slot becomes, but for the frame; it counts as what the slot holds does.
    @inline(__always)
    mutating func relabel(
        _ slot: UnsafeMutablePointer<UInt64>, _ entry: PageTableEntry, in old: Node, by pfn: PFN, of new: Node,
        freed: inout FreedFrames
    ) {
        var entry = entry
        let frame = old.index(of: entry.pfn)
        new.frames.setOwner(of: new.index(of: pfn), to: old.frames.owner(of: frame))
        old.frames.setOwner(of: frame, to: FrameTable.unmapped)
        freed.append(entry.pfn, node: old)
        entry.pfn = pfn
        entry.hasHint = false
        if moved.from !== old || moved.to !== new { selectCrossing(from: old, to: new) }
        moved.sums.add(entry, 1)
        unsafe slot.pointee = entry.rawValue
    }

    private mutating func selectCrossing(from old: Node, to new: Node) {
        endCrossing()
        (moved.from, moved.to) = (old, new)
    }

    private mutating func endCrossing() {
        let pages = moved.sums.pages
        guard pages > 0 else { return }
        moved.sums.apply(to: moved.from, -1)
        moved.sums.apply(to: moved.to, 1)
        let (from, to) = (moved.from.index, moved.to.index)
        if moved.sums.active != 0 {
            earlier.append(Owned(node: from, pages: 0, active: -moved.sums.active))
            earlier.append(Owned(node: to, pages: 0, active: moved.sums.active))
        }
        moved.sums = Sums()
        if let known = crossings.firstIndex(where: { $0.from == from && $0.to == to }) {
            crossings[known].pages += pages
        } else {
            crossings.append(Crossing(from: from, to: to, pages: pages))
        }
    }

    private static func select(_ node: Node, _ part: inout Part, _ earlier: inout [Owned]) {
        if let done = part.flush() { earlier.append(done) }
        part.node = node
    }

    /// Changes the counters. Once for a tally that pages were moved with.
    mutating func flush(in set: inout PageSet) {
        endCrossing()
        for crossing in crossings {
            set.add(-crossing.pages, node: crossing.from)
            set.add(crossing.pages, node: crossing.to)
        }
        if let done = left.flush() { set.add(done.pages, active: done.active, node: done.node) }
        if let done = came.flush() { set.add(done.pages, active: done.active, node: done.node) }
        if !earlier.isEmpty {
            for done in earlier { set.add(done.pages, active: done.active, node: done.node) }
            earlier = []
        }
        if markers != 0 { set.add(markers: markers) }
        markers = 0
    }
}
