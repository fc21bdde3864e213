import MachineTopology

/// Which pages of an owner are meant.
enum PageFilter {
    /// All pages.
    case all
    /// All that are not yet on the target, a node with this span.
    case notOn(NodeSpan)
    /// All that are not yet on the target, a node with this span, of nodes that let programs move pages away.
    case movable(to: NodeSpan, in: NodeMap)
    /// All pages that are not yet on the target, of nodes that programs may not move pages away from.
    case immovable(to: NodeSpan, in: NodeMap)
    /// Those of one node, by its span.
    case onNode(NodeSpan)
    /// The pages whose frames are in a range, such as a memory block's.
    case frames(Range<PFN>)
    /// The same, except huge pages.
    case baseFrames(Range<PFN>)
    /// The pages that are marked as migrating already.
    case migrating
    /// Those that may be in the page cache.
    case cached
    /// Those that are just being taken out of it.
    case unmapping
}

extension PageTableEntry {
    func matches(_ filter: PageFilter) -> Bool {
        switch filter {
        case .all: true
        case .notOn(let span): !span.contains(pfn)
        case .movable(let span, let nodes): !span.contains(pfn) && nodes.node(of: pfn).allows(.userMigrate)
        case .immovable(let span, let nodes): !span.contains(pfn) && !nodes.node(of: pfn).allows(.userMigrate)
        case .onNode(let span): span.contains(pfn)
        case .frames(let frames): frames.contains(pfn)
        case .baseFrames(let frames): !isHuge && frames.contains(pfn)
        case .migrating: isMigrating
        case .cached: isCached
        case .unmapping: isUnmapping
        }
    }
}
