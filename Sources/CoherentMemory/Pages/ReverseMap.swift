/// From frames to the page tables that map them (mm/rmap.c). All of it is a hint until the owner is locked.
extension TablePool {
    /// Calls `body` with the leaves that map frames of a range, by their indices in a node, as they come, until it returns false;
    /// none twice in a row.
    private func forEachLeaf(of frames: Range<Int>, on node: Node, _ body: (UInt32) -> Bool) {
        var last = FrameTable.free
        for frame in frames {
            let leaf = node.frames.owner(of: frame)
            guard leaf != last, FrameTable.isTable(leaf) else { continue }
            last = leaf
            guard body(leaf) else { return }
        }
    }

    private func pages(of base: UInt64) -> Range<UInt64> { base..<base + UInt64(Self.entries) }

    /// Who has a frame, and the pages of the leaf that maps it.
    func owner(of pfn: PFN, on node: Node) -> (id: UInt64, pages: Range<UInt64>)? {
        let leaf = node.frames.owner(of: node.index(of: pfn))
        guard FrameTable.isTable(leaf) else { return nil }
        let (owner, base) = location(of: leaf)
        return (owner, pages(of: base))
    }

    /// Who has frames of a range, each with the span of its pages there (rmap_walk()).
    func owners(of frames: Range<PFN>) -> [UInt64: Range<UInt64>] {
        let node = nodes.node(of: frames.lowerBound)
        let first = node.index(of: frames.lowerBound)
        var spans: [UInt64: Range<UInt64>] = [:]
        forEachLeaf(of: first..<first + frames.count, on: node) { leaf in
            let (owner, base) = location(of: leaf)
            let old = spans[owner] ?? pages(of: base)
            spans[owner] = min(old.lowerBound, base)..<max(old.upperBound, base + UInt64(Self.entries))
            return true
        }
        return spans
    }

    /// The leaves that map frames of a unit of 512, by their first pages, for each owner.
    func leaves(inUnit unit: Int, of node: Node) -> [(owner: UInt64, bases: [UInt64])] {
        var found: [UInt64: Set<UInt64>] = [:]
        forEachLeaf(of: node.frames(ofUnit: unit), on: node) { leaf in
            let (owner, base) = location(of: leaf)
            found[owner, default: []].insert(base)
            return true
        }
        return found.sorted { $0.key < $1.key }.map { ($0.key, $0.value.sorted()) }
    }
}

extension Node {
    /// The frames of a unit of 512, by their indices.
    func frames(ofUnit unit: Int) -> Range<Int> {
        unit * HugePage.frames..<min((unit + 1) * HugePage.frames, span.count)
    }

    /// Whether no frame of a unit is in a page table.
    func isEmpty(unit: Int) -> Bool { !frames(ofUnit: unit).contains { FrameTable.isTable(frames.owner(of: $0)) } }
}
