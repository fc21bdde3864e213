import LinuxSupport

extension Machine {
    /// Takes the frames of pages that failed away, and leaves markers in their place: from now on touches of these pages
    /// fail, and what comes back from the page cache is let go. The caller holds the buffer's lock, and afterwards
    /// invalidates the pages, whether they seemed cached or not: a migration may just be taking them out of the cache.
    ///
    /// A huge page is split first; a reserved one fails as a whole, as in Linux.
    ///
    /// - Parameters:
    ///   - pages: a part of one unit of 512 pages.
    ///   - filter: which of them.
    /// - Returns: what was detached, in order.
    func detach(
        _ pages: Range<UInt64>, filter: PageFilter, as kind: PageTableEntry.Marker, of state: inout Buffer.State,
        into freed: inout FreedFrames
    ) -> PageRuns {
        var pages = pages
        var filter = filter
        if let leaf = state.table.leaf(of: pages.lowerBound), state.table.isHuge(leaf) {
            let unit = HugePage.pages(around: pages.lowerBound)
            var isConcerned = false
            unsafe forEachMatch(pages, filter: filter, in: state) { _, _ in isConcerned = true }
            guard isConcerned else { return PageRuns() }
            if state.huge == .pool {
                pages = unit
                filter = .all
            } else {
                split(unit, of: &state)
            }
        }
        var runs = PageRuns()
        var counts = FrameTally()
        var holes = StorageHoles(in: tables)
        var markers = 0
        var seized = PageRuns()
        unsafe forEachMatch(pages, filter: filter, in: state) { page, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            let node = node(of: entry.pfn)
            let frame = node.index(of: entry.pfn)
            counts.add(entry, from: node.index)
            if entry.isDeviceMapped { seized.append(page) }
            node.frames.setOwner(of: frame, to: FrameTable.unmapped)
            node.noteVictim(of: frame, buffer: state.table.owner, page: page)
            freed.append(entry.pfn, node: node)
            // A reply may be reading what it held: that must not see zeros. They go with the marker then.
            let keepsBytes = unsafe entry.isWritten && tables.isRead(tables.slot(of: slot).table)
            if entry.isWritten, !keepsBytes { unsafe holes.add(slot) }
            unsafe slot.pointee = PageTableEntry(marking: kind, of: entry, keepsBytes: keepsBytes).rawValue
            markers += 1
            runs.append(page)
        }
        counts.flush(in: &state, of: self)
        holes.punch()
        for page in seized.runs.joined() { seize(page, in: &state) }
        state.markers += markers
        for run in runs.runs { withhold(run, of: &state) }
        return runs
    }

    /// The first page of a range whose memory failed. The caller holds the buffer's lock.
    func firstMarker(in pages: Range<UInt64>, of state: borrowing Buffer.State) -> UInt64? {
        var first: UInt64?
        unsafe forEachMarker(in: pages, of: state) { page, _ in
            first = page
            return false
        }
        return first
    }

    /// The number of bytes of a range before the first page whose memory has failed; all of them if the range begins
    /// with one.
    public func goodLength(of buffer: Buffer, at offset: UInt64, length: Int) -> Int {
        let end = Page.count(of: offset + UInt64(max(0, length)))
        let failed = buffer.state.withLock { firstMarker(in: offset >> Page.shift..<end, of: $0) }
        guard let failed, failed > offset >> Page.shift else { return length }
        return Int(failed << Page.shift - offset)
    }

    /// Calls `body` with the markers of a range, in order, until it returns false. The caller holds the buffer's lock.
    func forEachMarker(
        in pages: Range<UInt64>, of state: borrowing Buffer.State,
        _ body: (UInt64, UnsafeMutablePointer<UInt64>) -> Bool
    ) {
        guard state.markers > 0 else { return }
        var page = pages.lowerBound
        while page < pages.upperBound, let (leaf, base) = state.table.nextLeaf(from: page), base < pages.upperBound {
            let entries = unsafe state.table.entries(of: leaf)
            for candidate in max(page, base)..<min(pages.upperBound, base + UInt64(TablePool.entries)) {
                let slot = unsafe entries + (Int(candidate) & (TablePool.entries - 1))
                guard PageTableEntry(rawValue: unsafe slot.pointee).marker != nil else { continue }
                guard unsafe body(candidate, slot) else { return }
            }
            page = base + UInt64(TablePool.entries)
        }
    }

    /// Takes markers away, so that the pages may get a frame again. The caller holds the buffer's lock, and calls
    /// ``TablePool/punchEmptied()`` afterwards.
    func removeMarkers(_ pages: Range<UInt64>, of state: inout Buffer.State) {
        var removed = 0
        for base in stride(
            from: pages.lowerBound & ~UInt64(TablePool.entries - 1), to: pages.upperBound, by: TablePool.entries)
        {
            guard let leaf = state.table.leaf(of: base) else { continue }
            let part = max(base, pages.lowerBound)..<min(pages.upperBound, base + UInt64(TablePool.entries))
            state.table.remove(part, leaf: leaf) { _, entry in
                guard entry.marker != nil else { return false }
                removed += 1
                return true
            }
        }
        state.markers -= removed
    }
}

extension Node {
    /// Notes whose page a frame was that failed.
    fileprivate func noteVictim(of frame: Int, buffer: UInt64, page: UInt64) {
        zone.withLock { zone in
            zone.failed.update(frame) { ($0.buffer, $0.page) = (buffer, page) }
        }
    }
}
