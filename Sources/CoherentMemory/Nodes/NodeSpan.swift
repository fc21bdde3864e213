import SystemPackage

/// The frames that a node has or may get: by their place in physical memory, and by their index within the node.
///
/// The nodes' own memory lies in physical memory node after node. Behind it, again node after node, each has a window for
/// memory that is added later (the hot-pluggable ranges of ACPI's SRAT):
///
///     node 0 | node 1 | window of node 0 | window of node 1
///
/// Within the node the window follows the node's own frames after a gap of one block. As the gap is never free, no run
/// of free frames reaches from the one into the other.
struct NodeSpan: Sendable {
    /// The node's own frames.
    let base: Range<PFN>
    /// Frames that may be added.
    let window: Range<PFN>
    /// The index of the window's first frame.
    private let windowIndex: Int

    /// The largest window, in bytes, but for a block that is larger: the daemon's address space has to hold all.
    static let maximumWindow: UInt64 = 64 << 30

    /// How many frames may be added to a node: as many as it begins with, and at least eight blocks.
    static func windowFrames(memory: UInt64, blockSize: UInt64) -> UInt64 {
        max(blockSize, min(maximumWindow / blockSize * blockSize, max(memory, 8 * blockSize))) >> Page.shift
    }

    init(base: Range<PFN>, window: Range<PFN>, framesPerBlock: Int) {
        self.base = base
        self.window = window
        windowIndex = base.count + framesPerBlock
    }

    /// How many indices there are.
    var count: Int { windowIndex + window.count }

    /// Whether a frame is the node's, or may become so.
    func contains(_ pfn: PFN) -> Bool { base.contains(pfn) || window.contains(pfn) }

    /// Whether two of the node's frames lie in the same of its two ranges.
    func isInOnePiece(_ first: PFN, _ second: PFN) -> Bool { base.contains(first) == base.contains(second) }

    /// The index of a frame of this node.
    func index(of pfn: PFN) -> Int {
        assert(contains(pfn))
        return base.contains(pfn) ? Int(pfn - base.lowerBound) : windowIndex + Int(pfn - window.lowerBound)
    }

    /// The index of the first frame that is not before `pfn`, for indices ascend as addresses do; `count` where all are.
    func firstIndex(from pfn: PFN) -> Int {
        // A node may begin without a frame of its own.
        let own = max(pfn, base.lowerBound)
        if own < base.upperBound { return index(of: own) }
        let added = max(pfn, window.lowerBound)
        return added < window.upperBound ? index(of: added) : count
    }

    /// The frame with an index.
    func pfn(at index: Int) -> PFN {
        index < base.count ? base.lowerBound + UInt64(index) : window.lowerBound + UInt64(index - windowIndex)
    }

    /// The physical address of an offset into the node's memory: its own from 0 on, and behind it what may be added.
    ///
    /// - Throws: EINVAL for one that is no multiple of 64, or not the node's.
    func physicalAddress(_ offset: UInt64) throws(Errno) -> UInt64 {
        let page = offset >> Page.shift
        guard offset.isMultiple(of: 64), page < UInt64(base.count + window.count) else { throw .invalidArgument }
        let own = UInt64(base.count)
        let pfn = page < own ? base.lowerBound + page : window.lowerBound + page - own
        return pfn << Page.shift | offset & (Page.size - 1)
    }
}
