import LinuxSupport
import MachineTopology
import SystemPackage

extension Machine {
    /// The location of a buffer, if it is contiguous.
    public func contiguousRange(of buffer: Buffer) -> ContiguousRange? {
        buffer.state.withLock { $0.contiguous }.map { run in
            ContiguousRange(
                node: memory.nodes.node(of: run.start).id, physicalAddress: run.start << Page.shift,
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
    ///   - buffer: the buffer.
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
        trace.note(.makeContiguous, of: buffer, to: node, by: Origin(pid: task, node: id))
        try buffer.migrationTurn.withLock { _ throws(Errno) in
            try buffer.state.withLock { state throws(Errno) in
                guard state.backing == nil else { throw .notSupported }
                guard state.pages.table.isEmpty else { throw .resourceBusy }
                guard state.size > 0, state.huge != .pool else { throw .invalidArgument }
                let count = Page.count(of: state.size)
                guard count <= UInt64(node.span.count) else { throw .noMemory }
                if let share = state.pages.share, share.room(on: node) < count { throw .diskQuotaExceeded }
                guard memory.placer.hostBudget.take(Int(count), of: nodes) else { throw .noMemory }
                let run = try node.allocateContiguous(Int(count))
                do throws(Errno) {
                    // All under one hold of the lock, for until then there is no frame for who touches the buffer. Only requests
                    // for this very buffer wait for it: with the allocation 64 to 89 ms for 16 GiB.
                    var tally = PageTally(memory.nodes)
                    try state.pages.mapFrames(
                        run.count, from: PageTableEntry(pfn: run.start), at: 0, of: node, in: &tally)
                    tally.flush(in: &state.pages)
                } catch {
                    node.release(run)
                    throw error
                }
                state.contiguous = run
                state.settleFresh(0..<count)
                if trace.isEnabled(.touchPlaced) {
                    trace.record(
                        TraceEvent(
                            .touchPlaced, detail: UInt8(MemoryPolicy.Mode.bind.constant), pid: task, buffer: buffer.id,
                            count: count, from: UInt16(id), to: UInt16(id), flags: .followsRequest))
                }
            }
        }
    }

    /// Makes a contiguous buffer an ordinary one and frees its pages, as a hole of the whole buffer would.
    ///
    /// Blocks until the pages have left the page cache; never call it from a thread that the page cache may wait for.
    /// Does nothing to a buffer that is not contiguous.
    ///
    /// - Throws: EBUSY if programs keep touching its pages; then it is not changed. EPERM for a device's memory.
    public func releaseContiguous(_ buffer: Buffer) throws(Errno) {
        guard buffer.fixedSize == nil else { throw .notPermitted }
        trace.note(.releaseContiguous, of: buffer)
        try buffer.migrationTurn.withLock { _ throws(Errno) in
            for _ in 0..<3 where buffer.isContiguous {
                guard memory.empty(buffer, pages: 0..<Page.count(of: buffer.size)) else { break }
                var freed = FreedFrames(isUnlimited: true)
                let (isCached, count) = buffer.state.withLock { state in
                    let count = state.contiguous?.count ?? 0
                    let isCached = state.pages.hasMatch(0..<Page.count(of: state.size), filter: .cached)
                    if !isCached { state.unmapContiguous(into: &freed) }
                    return (isCached, count)
                }
                freed.release(to: memory.tables)
                guard isCached else {
                    trace.noteFreed(0..<UInt64(count), of: buffer.id, flags: .followsRequest)
                    return
                }
            }
            if buffer.isContiguous { throw .resourceBusy }
        }
    }
}
