import LinuxSupport
import SystemPackage

extension Machine {
    /// Puts the frame at a physical address back into service (cxl_clear_poison(), unpoison_memory()). A page that is
    /// still marked in a buffer becomes a hole, and reads as zeros.
    ///
    /// - Parameter address: any byte of the page.
    /// - Returns: whether the frame had failed.
    /// - Throws: ENXIO if no memory can be there.
    @discardableResult
    public func clearFailure(address: UInt64) throws(Errno) -> Bool {
        let pfn = try self.pfn(ofMemory: address)
        let node = node(of: pfn)
        let frame = node.index(of: pfn)
        let record = system.failureTurn.withLock { _ -> FailedFrames.Record? in
            guard let record = node.failures({ $0[frame] }), record.isRetired else { return nil }
            guard record.buffer != 0, let buffer = buffer(id: record.buffer) else {
                node.zone.withLock { $0.unfail(frame, table: node.frames) }
                return record
            }
            buffer.state.withLock { state in
                let entry = state.table[record.page]
                let isMarked = entry.marker == .poisoned && entry.pfn == pfn
                if isMarked, let run = state.contiguous, run.start + record.page == pfn {
                    putBack(pfn, of: node, at: record.page, in: &state)
                    return
                }
                // A contiguous one that has moved without the page has no other frame for it.
                if isMarked, state.contiguous == nil {
                    removeMarkers(
                        entry.isHuge ? HugePage.pages(around: record.page) : record.page..<record.page + 1,
                        of: &state)
                }
                node.zone.withLock { $0.unfail(frame, table: node.frames) }
                if isMarked { restoreDirect(record.page..<record.page + 1, of: &state) }
            }
            tables.punchEmptied()
            if buffer.isDirect { settle(record.page..<record.page + 1, of: buffer, moving: true) }
            return record
        }
        guard let record else { return false }
        var event = PageFailure(kind: .clear, pfn, node)
        if record.buffer != 0 {
            event.buffer = record.buffer
            event.offset = record.page << Page.shift
        }
        announce(.pageFailed(event))
        return true
    }

    /// Gives a page of a contiguous buffer the frame back that its place in the run demands.
    private func putBack(_ pfn: PFN, of node: Node, at page: UInt64, in state: inout Buffer.State) {
        guard let leaf = state.table.leaf(of: page) else { preconditionFailure("a marker without a leaf") }
        let frame = node.index(of: pfn)
        node.zone.withLock { $0.reclaim(frame, for: leaf, table: node.frames) }
        let slot = unsafe state.table.entries(of: leaf) + (Int(page) & (TablePool.entries - 1))
        if PageTableEntry(rawValue: unsafe slot.pointee).isWritten {
            var holes = StorageHoles(in: tables)
            unsafe holes.add(slot)
            holes.punch()
        }
        unsafe slot.pointee = PageTableEntry(pfn: pfn).rawValue
        state.markers -= 1
        state.addPages(1, node: node.index)
    }
}
