import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// The location of a contiguous buffer.
public struct ContiguousRange: Sendable, Hashable {
    /// The id of the node.
    public var node: Int
    /// The physical address of the first byte.
    public var physicalAddress: UInt64
    /// The length in bytes, a multiple of the page size.
    public var length: UInt64
}

extension Machine {
    /// The location of a buffer, if it is contiguous.
    public func contiguousRange(of buffer: Buffer) -> ContiguousRange? {
        buffer.state.withLock { $0.contiguous }.map { run in
            ContiguousRange(
                node: node(of: run.start).id, physicalAddress: run.start << Page.shift,
                length: UInt64(run.count) << Page.shift)
        }
    }

    /// Allocates all memory of a buffer without pages as one run of frames, from the share that a coherent node
    /// reserves for this (dma_alloc_contiguous()).
    ///
    /// The run begins at a multiple of its size, rounded up to a power of two, at most 1 MiB. The buffer keeps its size
    /// and pages until ``releaseContiguous(_:)``: holes are zeroed, and a move of one page moves all of them into
    /// another such run. The caller names the node, so neither policy nor cpuset applies. It is not an allocation of a
    /// page, so numastat does not count it (alloc_contig_range()).
    ///
    /// Waits while a migration of the buffer moves a batch; never call it from a thread that the page cache may wait
    /// for.
    ///
    /// - Parameters:
    ///   - id: the node's id.
    ///   - task: the calling task, 0 for none in particular.
    /// - Throws: ENODEV for a node that does not exist or has no memory online; EINVAL for one that is not coherent,
    ///   for a buffer without a size, and for one of reserved huge pages; EPERM for a device's memory, for a node that
    ///   policies may not name, and for a restricted one that the task may not use; EOPNOTSUPP for a direct buffer;
    ///   EBUSY if the buffer has pages; ENOMEM if the share has no such run; EDQUOT if the buffer's user has used its
    ///   share of the node.
    public func makeContiguous(_ buffer: Buffer, on id: Int, by task: Int32 = 0) throws(Errno) {
        guard buffer.fixedSize == nil else { throw .notPermitted }
        guard let node = node(id), node.isPresent else { throw .operationNotSupportedByDevice }
        guard node.kind == .coherent else { throw .invalidArgument }
        guard node.allows(.mempolicy) else { throw .notPermitted }
        guard node.hasMemory else { throw .operationNotSupportedByDevice }
        try checkAccess(to: node, by: task)
        try buffer.migrationTurn.withLock { _ throws(Errno) in
            try buffer.state.withLock { state throws(Errno) in
                guard state.backing == nil else { throw .notSupported }
                guard state.table.isEmpty else { throw .resourceBusy }
                guard state.size > 0, state.huge != .pool else { throw .invalidArgument }
                let count = Page.count(of: state.size)
                guard count <= UInt64(node.span.count) else { throw .noMemory }
                if let share = state.share, share.room(on: node) < count { throw .diskQuotaExceeded }
                guard system.hostBudget.take(Int(count), of: nodes) else { throw .noMemory }
                let run = try node.allocateContiguous(Int(count))
                do throws(Errno) {
                    try insert(run, of: node, into: &state)
                } catch {
                    node.release(run)
                    throw error
                }
                state.contiguous = run
            }
        }
    }

    /// Puts frames into an empty page table. On an error it is empty again.
    ///
    /// All under one hold of the lock, for until then there is no frame for who touches the buffer. Only requests for this
    /// very buffer wait for it, and nothing is copied or zeroed: with the allocation 64 to 89 ms for 16 GiB.
    private func insert(_ run: FrameRun, of node: Node, into state: inout Buffer.State) throws(Errno) {
        for base in stride(from: 0, to: UInt64(run.count), by: TablePool.entries) {
            let leaf: UInt32
            do throws(Errno) {
                leaf = try state.table.makeLeaf(of: base)
            } catch {
                for made in stride(from: 0, to: base, by: TablePool.entries) {
                    guard let leaf = state.table.leaf(of: made) else { continue }
                    state.table.remove(made..<made + UInt64(TablePool.entries), leaf: leaf) { _, _ in true }
                }
                throw error
            }
            let count = min(run.count - Int(base), TablePool.entries)
            let start = run.start + base
            state.table.insert(count, from: PageTableEntry(pfn: start), at: base, leaf: leaf)
            node.frames.setOwner(of: node.index(of: start)..<node.index(of: start) + count, to: leaf)
        }
        state.addPages(run.count, node: node.index)
        settleFresh(0..<UInt64(run.count), in: state)
    }

    /// Makes a contiguous buffer an ordinary one and frees its pages, as a hole of the whole buffer would.
    ///
    /// Blocks until the pages have left the page cache; never call it from a thread that the page cache may wait for.
    /// Does nothing to a buffer that is not contiguous.
    ///
    /// - Throws: EBUSY if programs keep touching its pages; then it is not changed. EPERM for a device's memory.
    public func releaseContiguous(_ buffer: Buffer) throws(Errno) {
        guard buffer.fixedSize == nil else { throw .notPermitted }
        try buffer.migrationTurn.withLock { _ throws(Errno) in
            for _ in 0..<3 where buffer.isContiguous {
                guard empty(buffer, pages: 0..<Page.count(of: buffer.size)) else { break }
                var freed = FreedFrames(isUnlimited: true)
                let isCached = buffer.state.withLock { state in
                    var isCached = false
                    unsafe forEachMatch(0..<Page.count(of: state.size), filter: .all, in: state) { _, slot in
                        if PageTableEntry(rawValue: unsafe slot.pointee).isCached { isCached = true }
                    }
                    if !isCached { unmapContiguous(&state, into: &freed) }
                    return isCached
                }
                freed.release(to: self)
                guard isCached else { return }
            }
            if buffer.isContiguous { throw .resourceBusy }
        }
    }

    /// The same whatever programs do meanwhile: what they store is lost.
    func giveUpContiguous(_ buffer: Buffer) {
        buffer.migrationTurn.withLock { _ in
            invalidate(buffer, pages: 0..<Page.count(of: buffer.size))
            var freed = FreedFrames(isUnlimited: true)
            buffer.state.withLock { unmapContiguous(&$0, into: &freed) }
            freed.release(to: self)
        }
    }

    private func unmapContiguous(_ state: inout Buffer.State, into freed: inout FreedFrames) {
        guard let run = state.contiguous else { return }
        state.contiguous = nil
        var count = 0
        let rest = unmap(0..<UInt64.max >> Page.shift, of: &state, into: &freed, .all, &count)
        assert(rest == nil && count == run.count)
    }

    /// Zeroes a range of a contiguous buffer, and of what is one no more what it would have zeroed of a page.
    func zeroContiguous(_ buffer: Buffer, bytes: Range<UInt64>) {
        // Large ones piece by piece: the lock is not held for as long as they take.
        let end = buffer.state.withLock { min(bytes.upperBound, Page.count(of: $0.size) << Page.shift) }
        var start = bytes.lowerBound
        while start < end {
            let stop = min(end, (start / HugePage.size + 1) * HugePage.size)
            buffer.state.withLock { state in zero(start..<stop, of: &state) }
            start = stop
        }
    }

    /// Refuses what would make a contiguous buffer longer. EPERM, as of a memfd sealed with F_SEAL_GROW.
    ///
    /// - Parameter isPageWise: whether `end` is only the end of the pages to be had, not of the buffer.
    func checkGrowth(of state: borrowing Buffer.State, to end: UInt64, isPageWise: Bool = false) throws(Errno) {
        guard state.contiguous != nil else { return }
        let limit = isPageWise ? Page.count(of: state.size) << Page.shift : state.size
        if end > limit { throw .notPermitted }
    }
}
