import CLinux
import Glibc
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

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

extension Machine {
    /// The numbers of the present memory blocks, ascending.
    public var blockNumbers: [UInt64] { nodes.flatMap { blockNumbers(of: $0) }.sorted() }

    /// The block `memoryM`, or nil if there is none.
    public func block(_ number: UInt64) -> MemoryBlock? {
        place(ofBlock: number).flatMap { block in block.state == .absent ? nil : block }
    }

    /// The place of a block that is there or may be added; nil where no node has a range.
    func place(ofBlock number: UInt64) -> MemoryBlock? {
        let (pfn, overflow) = number.multipliedReportingOverflow(by: UInt64(pagesPerBlock))
        guard !overflow else { return nil }
        let node = node(of: pfn)
        guard node.span.contains(pfn) else { return nil }
        return MemoryBlock(
            number: number, node: node, index: node.index(of: pfn) / pagesPerBlock, incarnation: node.incarnation)
    }

    /// The numbers of a node's present blocks, ascending.
    public func blockNumbers(of node: Node) -> [UInt64] {
        node.zone.withLock { node.isPresent ? $0.presentBlocks : [] }.map { number(ofBlock: $0, of: node) }
    }

    /// Whether a node has any block, online or not.
    public func hasBlocks(_ node: Node) -> Bool { node.isPresent && node.zone.withLock { $0.blocks } > 0 }

    func number(ofBlock index: Int, of node: Node) -> UInt64 {
        node.span.pfn(at: index * pagesPerBlock) / UInt64(pagesPerBlock)
    }

    /// Brings an offline block online (online_pages()).
    ///
    /// - Parameter type: the zone; memory of a device never enters the ordinary one.
    /// - Throws: EINVAL if it is online already or cannot have the zone, EBUSY while it is going offline, ENODEV if it
    ///   is gone, EPERM while the memory belongs to the driver, EHWPOISON if frames of it have failed.
    public func online(_ block: MemoryBlock, as type: OnlineType = .online) throws(Errno) {
        let isCoherent = block.node.kind == .coherent
        guard type != .offline, !(isCoherent && type == .onlineKernel) else { throw .invalidArgument }
        let isFirst = try block.node.zone.withLock { zone throws(Errno) in
            let isFirst = zone.present == 0
            guard block.node.allows(.node) else { throw .notPermitted }
            switch block.state(in: zone) {
            case .offline:
                // As memory_block_online() has it: first the poison has to be cleared.
                guard zone.failed.all(in: zone.frames(of: block.index)).isEmpty else { throw .hardwarePoisoned }
                let kind: ZoneKind =
                    switch type {
                    case .onlineKernel: .normal
                    case .onlineMovable: .movable
                    default: isCoherent ? .movable : zone.defaultKind(of: block.index)
                    }
                zone.online(block.index, in: kind)
                note(.block(block.number, .online))
            case .online: throw .invalidArgument
            case .goingOffline: throw .resourceBusy
            case .absent: throw .operationNotSupportedByDevice
            }
            return isFirst
        }
        if isFirst { tasks.nodesChanged(in: self) }
        announce(.block(block.number, .online))
    }

    /// Takes a block offline after all its pages have moved away: to the same node, then to ordinary nodes by distance
    /// (offline_pages()). Contiguous buffers move to another run of the share, or to that of another node.
    ///
    /// Blocks until then; never call it from a thread that the page cache may wait for. All or nothing: on an error the
    /// block is online with all its data, though some of its pages may have moved.
    ///
    /// - Parameter account: the account of the moved pages.
    /// - Throws: EINVAL if it is offline already, EBUSY if it is going offline or a page cannot or may not move, EINTR
    ///   when cancelled, ENODEV if it is gone.
    public func offline(
        _ block: MemoryBlock, account: MigrationAccount? = nil, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let account = account.map { MigrationAccount(partOf: $0) } ?? MigrationAccount(.offline)
        try block.node.zone.withLock { zone throws(Errno) in
            switch block.state(in: zone) {
            case .online:
                zone.isolate(block.index)
                account.expect(zone.used(in: block.index))
                note(.block(block.number, .goingOffline))
            case .offline: throw .invalidArgument
            case .goingOffline: throw .resourceBusy
            case .absent: throw .operationNotSupportedByDevice
            }
        }
        announce(.block(block.number, .goingOffline))
        do throws(Errno) {
            try drain(block, account, isCancelled: isCancelled)
        } catch {
            let isThere = block.node.zone.withLock { zone in
                guard block.state(in: zone) == .goingOffline else { return false }
                zone.cancelIsolation(of: block.index, frames: block.node.frames)
                note(.block(block.number, .online))
                return true
            }
            if isThere { announce(.block(block.number, .online)) }
            throw error
        }
        if !block.node.hasMemory { tasks.nodesChanged(in: self) }
        announce(.block(block.number, .offline))
    }

    /// Moves what is left in an isolated block until nothing is.
    private func drain(_ block: MemoryBlock, _ account: MigrationAccount, isCancelled: () -> Bool) throws(Errno) {
        let node = block.node
        let targets = refuges(from: node)
        while true {
            if isCancelled() { throw .interrupted }
            let isDrained = try node.zone.withLock { zone throws(Errno) in
                // Its link may be cut.
                guard block.state(in: zone) == .goingOffline else { throw .operationNotSupportedByDevice }
                zone.dissolvePool(in: block.index, table: node.frames)
                guard zone.isDrained(block.index) else {
                    guard node.allows(.hotunplug) else { throw .resourceBusy }
                    return false
                }
                zone.offline(block.index)
                note(.block(block.number, .offline))
                return true
            }
            if isDrained { return }
            var moved = 0
            // Those first that are least likely to find room, so that nothing else moves in vain.
            let concerned = mappings(of: block.frames).sorted { $0.0.id < $1.0.id }
                .map { (buffer: $0, pages: $1, isWhole: $0.isContiguous) }
            for (buffer, pages, isWhole) in concerned.filter(\.isWhole) + concerned.filter({ !$0.isWhole }) {
                do throws(Errno) {
                    try move(
                        buffer, pages: pages, filter: .frames(block.frames),
                        targets: isWhole ? [node] + contiguousTargets(beside: node) : targets, account: account,
                        isCancelled: isCancelled
                    ) { moved += $0.moved }
                } catch .noMemory {
                    throw .resourceBusy
                }
            }
            // A frame that is neither mapped nor free is on its way, to its first page table or home, and arrives.
            if moved == 0 { try? pause() }
        }
    }

    func pause() throws(Errno) {
        var time = timespec(tv_sec: 0, tv_nsec: 100_000)
        if unsafe nanosleep(&time, nil) != 0 { throw .last }
    }

    /// Who has the frames of a range in use: buffers, each with the span of its pages there (rmap_walk()).
    func mappings(of frames: Range<PFN>) -> [(Buffer, Range<UInt64>)] {
        let node = node(of: frames.lowerBound)
        var spans: [UInt64: Range<UInt64>] = [:]
        var lastLeaf = FrameTable.free
        for pfn in frames {
            let leaf = node.frames.owner(of: node.index(of: pfn))
            guard FrameTable.isTable(leaf), leaf != lastLeaf else { continue }
            lastLeaf = leaf
            let (owner, base) = tables.location(of: leaf)
            let span = base..<base + UInt64(TablePool.entries)
            spans[owner] =
                spans[owner].map {
                    min($0.lowerBound, span.lowerBound)..<max($0.upperBound, span.upperBound)
                } ?? span
        }
        return spans.compactMap { id, span in buffer(id: id).map { ($0, span) } }
    }
}
