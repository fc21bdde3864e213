import MachineTopology

/// Which pages of a buffer a migration takes.
enum PageFilter {
    /// All pages.
    case all
    /// All pages that are not yet on the target.
    case notOn(node: Int)
    /// All pages that are not yet on the target, of nodes that programs may move pages away from.
    case movable(to: Int)
    /// All pages that are not yet on the target, of nodes that programs may not move pages away from.
    case immovable(to: Int)
    /// The pages of one node.
    case onNode(Int)
    /// The pages whose frames are in a range, such as a memory block's.
    case frames(Range<PFN>)
    /// The same, except huge pages.
    case baseFrames(Range<PFN>)
    /// The pages that are marked as migrating already.
    case migrating
    /// The pages that are being taken out of the page cache.
    case unmapping
}

extension Machine {
    func matches(_ entry: PageTableEntry, _ filter: PageFilter) -> Bool {
        switch filter {
        case .all: true
        case .notOn(let node): !nodes[node].span.contains(entry.pfn)
        case .movable(let node): isElsewhere(entry, than: nodes[node]) { $0.allows(.userMigrate) }
        case .immovable(let node): isElsewhere(entry, than: nodes[node]) { !$0.allows(.userMigrate) }
        case .onNode(let node): nodes[node].span.contains(entry.pfn)
        case .frames(let frames): frames.contains(entry.pfn)
        case .baseFrames(let frames): !entry.isHuge && frames.contains(entry.pfn)
        case .migrating: entry.isMigrating
        case .unmapping: entry.isUnmapping
        }
    }

    private func isElsewhere(
        _ entry: PageTableEntry, than target: Node, _ condition: (Node) -> Bool
    ) -> Bool {
        !target.span.contains(entry.pfn) && condition(node(of: entry.pfn))
    }

    /// Calls `body` with every entry of a range that a migration takes.
    func forEachMatch(
        _ pages: Range<UInt64>, filter: PageFilter, in state: borrowing Buffer.State,
        _ body: (UInt64, UnsafeMutablePointer<UInt64>) -> Void
    ) {
        var page = pages.lowerBound
        while page < pages.upperBound, let (leaf, base) = state.table.nextLeaf(from: page), base < pages.upperBound {
            let entries = unsafe state.table.entries(of: leaf)
            for candidate in max(page, base)..<min(pages.upperBound, base + UInt64(TablePool.entries)) {
                let slot = unsafe entries + (Int(candidate) & (TablePool.entries - 1))
                let entry = PageTableEntry(rawValue: unsafe slot.pointee)
                if entry.isPresent, matches(entry, filter) { unsafe body(candidate, slot) }
            }
            page = base + UInt64(TablePool.entries)
        }
    }
}
