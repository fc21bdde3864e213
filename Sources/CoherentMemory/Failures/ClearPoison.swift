import LinuxSupport
import SystemPackage

extension Failures {
    /// See ``Machine/clearFailure(address:)``.
    @discardableResult
    func clearFailure(address: UInt64) throws(Errno) -> Bool {
        let pfn = try pfn(ofMemory: address)
        let node = nodes.node(of: pfn)
        let frame = node.index(of: pfn)
        let record = turn.withLock { _ -> FailedFrames.Record? in
            guard let record = node.failures({ $0[frame] }), record.isRetired else { return nil }
            guard record.buffer != 0, let buffer = memory.buffer(id: record.buffer) else {
                node.zone.withLock { $0.unfail(frame, table: node.frames) }
                return record
            }
            buffer.state.withLock { state in
                let entry = state.pages.table[record.page]
                let isMarked = entry.marker == .poisoned && entry.pfn == pfn
                if isMarked, let run = state.contiguous, run.start + record.page == pfn {
                    guard let leaf = state.pages.table.leaf(of: record.page) else { return }
                    node.zone.withLock { $0.reclaim(frame, for: leaf, table: node.frames) }
                    state.pages.unpoison(record.page, with: pfn)
                    return
                }
                // A contiguous one that has moved without the page has no other frame for it.
                if isMarked, state.contiguous == nil {
                    state.pages.removeMarkers(
                        entry.isHuge ? HugePage.pages(around: record.page) : record.page..<record.page + 1)
                }
                node.zone.withLock { $0.unfail(frame, table: node.frames) }
                if isMarked { state.restoreDirect(record.page..<record.page + 1, in: memory) }
            }
            memory.tables.punchEmptied()
            if buffer.isDirect { memory.placeOnHost(record.page..<record.page + 1, of: buffer, moving: true) }
            return record
        }
        guard let record else { return false }
        var event = PageFailure(kind: .clear, pfn, node)
        if record.buffer != 0 {
            event.buffer = record.buffer
            event.offset = record.page << Page.shift
        }
        events.announce(.pageFailed(event))
        return true
    }
}
