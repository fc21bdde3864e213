import LinuxSupport
import MachineTopology

/// A part of a node's memory that goes offline and online as a whole (drivers/base/memory.c).
public struct MemoryBlock: Sendable {
    /// The number in `memoryM`: the block's physical address divided by the block size.
    public let number: UInt64
    /// The node of the block.
    public let node: Node
    /// The block's place within the node.
    let index: Int
    /// The incarnation of the node to which the block belongs: a block that is added again is a different one.
    public let incarnation: UInt32

    /// Whether its pages can be allocated; ``MemoryBlockState/absent`` for good after its node was removed.
    public var state: MemoryBlockState { node.zone.withLock { state(in: $0) } }

    /// The state. The caller holds the zone's lock.
    func state(in zone: borrowing Zone) -> MemoryBlockState {
        guard node.incarnation == incarnation, node.isPresent else { return .absent }
        return node.allows(.node) ? zone.state(of: index) : .offline
    }

    /// The zone of its frames, nil while it is offline.
    public var zone: ZoneKind? {
        node.zone.withLock { zone in [.absent, .offline].contains(state(in: zone)) ? nil : zone.kind(of: index) }
    }

    /// The zones into which the block may be brought online; the first is the default.
    public var allowedZones: [ZoneKind] {
        if node.kind == .coherent { return [.movable] }
        return node.zone.withLock { $0.defaultKind(of: index) } == .normal ? [.normal, .movable] : [.movable, .normal]
    }

    /// The physical frames of the block.
    var frames: Range<PFN> {
        let count = UInt64(node.zone.withLock { $0.framesPerBlock })
        return number * count..<(number + 1) * count
    }
}

extension NodeMap {
    /// The place of a block that is there or may be added; nil where no node has a range.
    func place(ofBlock number: UInt64) -> MemoryBlock? {
        let (pfn, overflow) = number.multipliedReportingOverflow(by: UInt64(framesPerBlock))
        guard !overflow else { return nil }
        let node = node(of: pfn)
        guard node.span.contains(pfn) else { return nil }
        return MemoryBlock(
            number: number, node: node, index: node.index(of: pfn) / framesPerBlock, incarnation: node.incarnation)
    }

    /// The block `memoryM`, if there is one.
    func block(_ number: UInt64) -> MemoryBlock? {
        place(ofBlock: number).flatMap { block in block.state == .absent ? nil : block }
    }

    /// The numbers of a node's blocks that are there, ascending.
    func blockNumbers(of node: Node) -> [UInt64] {
        node.zone.withLock { node.isPresent ? $0.presentBlocks : [] }.map { number(ofBlock: $0, of: node) }
    }

    /// The number of a node's block by its place.
    func number(ofBlock index: Int, of node: Node) -> UInt64 {
        node.span.pfn(at: index * framesPerBlock) / UInt64(framesPerBlock)
    }
}
