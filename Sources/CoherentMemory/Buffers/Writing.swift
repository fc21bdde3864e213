import SystemPackage

extension Buffer.State {
    /// Stores bytes; see ``Machine/write(_:to:at:origin:isGrowing:waitsForDevices:)``.
    mutating func store(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64, in memory: Memory, origin: Origin,
        isGrowing: Bool, isWriteBack: Bool
    ) throws(Errno) -> Int {
        if let backing { return try unsafe storeDirect(bytes, at: offset, backing) }
        var end = offset + UInt64(bytes.count)
        if !isGrowing {
            // Bytes behind the end have nowhere to go, and no program waits for them.
            guard offset < size else { return bytes.count }
            end = min(end, size)
        }
        guard end > offset else { return 0 }
        var isCut = false
        try checkGrowth(to: end)
        var range = offset >> Page.shift..<Page.count(of: end)
        // What comes back to a page that failed is let go; others are told (copy_folio_from_iter() and its EIO).
        if !isWriteBack, let failed = pages.firstMarker(in: range) {
            guard failed > range.lowerBound else { throw .ioError }
            range = range.lowerBound..<failed
            end = failed << Page.shift
            isCut = true
        }
        let placedBefore = counters.cpu
        let populated = try populate(range, in: memory, origin: origin, policy: .prefix)
        let hasOld = counters.cpu &- placedBefore < populated - range.lowerBound
        var isFound = false
        var fresh: Range<UInt64>?
        let stop = min(end, populated << Page.shift)
        let pool = memory.tables
        var tally = PageTally(memory.nodes)
        var run = StoredRun(in: pool.storage)
        var page = range.lowerBound
        while page < populated {
            guard let slot = unsafe pages.table.entry(of: page) else {
                preconditionFailure("a populated page has no leaf")
            }
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            guard entry.isPresent else {
                page += 1
                continue
            }
            if entry.isDeviceMapped, !isWriteBack {
                pages.seize(page)
                entry.isDeviceMapped = false
            }
            let wasCached = entry.isCached
            if !entry.isWritten { fresh = (fresh?.lowerBound ?? page)..<page + 1 }
            // What is written back because the page is leaving the cache does not bring it there.
            if !(isWriteBack && (entry.isUnmapping || entry.isDeviceMapped)) { entry.isCached = true }
            if entry.isCached, !wasCached { isFound = true }
            let from = max(offset, page << Page.shift)
            let to = min(stop, (page + 1) << Page.shift)
            unsafe run.add(
                UnsafeRawBufferPointer(rebasing: bytes[Int(from - offset)..<Int(to - offset)]),
                at: pool.place(of: slot) + from & (Page.size - 1), isFresh: !entry.isWritten)
            entry.isWritten = true
            unsafe tally.set(slot, to: entry)
            page += 1
        }
        run.flush()
        tally.flush(in: &pages)
        if isFound, hasOld {
            memory.trace.noteFound(
                range.lowerBound..<populated, of: pages.table.owner, .store, continues: counters.cpu != placedBefore,
                origin)
        }
        if let fresh { noteStored(fresh, in: memory, isWriteBack: isWriteBack) }
        if isGrowing { size = max(size, stop) }
        // What lay behind the end counts as stored, too.
        return stop == end && !isCut ? bytes.count : Int(stop - offset)
    }

    /// Records which pages hold something else than zeros, run by run.
    private func noteStored(_ range: Range<UInt64>, in memory: Memory, isWriteBack: Bool) {
        guard memory.trace.isEnabled(.pagesStored) else { return }
        var run = range.lowerBound..<range.lowerBound
        for page in range {
            guard let slot = unsafe pages.table.entry(of: page), unsafe !pages.pool.isZero(slot) else { continue }
            if run.upperBound != page {
                memory.trace.noteStored(run, of: pages.table.owner, isWriteBack: isWriteBack)
                run = page..<page
            }
            run = run.lowerBound..<page + 1
        }
        memory.trace.noteStored(run, of: pages.table.owner, isWriteBack: isWriteBack)
    }
}
