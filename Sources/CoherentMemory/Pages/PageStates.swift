import LinuxSupport
import SystemPackage

/// Each change of a page's state. The caller holds the owner's lock.
extension PageSet {
    // MARK: Frames come and go

    /// Gives pages that have nothing frames that follow each other (set_pte_at() for a range).
    ///
    /// - Parameter first: the entry of the first page.
    /// - Throws: ENOMEM when tables run out; then none has a frame.
    mutating func mapFrames(
        _ count: Int, from first: PageTableEntry, at page: UInt64, of node: Node, in tally: inout PageTally
    ) throws(Errno) {
        var (entry, next, left) = (first, page, count)
        while left > 0 {
            let leaf: UInt32
            do throws(Errno) {
                leaf = try table.makeLeaf(of: next)
            } catch {
                var made = page
                while made < next, let leaf = table.leaf(of: made) {
                    let end = min(next, TablePool.leafEnd(of: made))
                    table.remove(made..<end, leaf: leaf) { _, _ in true }
                    made = end
                }
                throw error
            }
            let part = min(left, Int(TablePool.leafEnd(of: next) - next))
            table.insert(part, from: entry, at: next, leaf: leaf)
            let frame = node.index(of: entry.pfn)
            node.frames.setOwner(of: frame..<frame + part, to: leaf)
            entry.pfn += UInt64(part)
            next += UInt64(part)
            left -= part
        }
        tally.count(count, from: first, of: node)
    }

    /// Takes pages out of a leaf: their frames have no owner, and are free once `freed` is released, and no device that maps
    /// them does so any more.
    ///
    /// - Parameter takes: which pages go; gets markers, too.
    /// - Returns: how many went.
    mutating func unmapFrames(
        _ pages: Range<UInt64>, of leaf: UInt32, into freed: inout FreedFrames, in tally: inout PageTally,
        _ takes: (UInt64, UnsafeMutablePointer<UInt64>) -> Bool
    ) -> Int {
        var count = 0
        var dropped: [UInt64] = []
        var held = FreedFrames()
        let nodes = nodes
        let slots = unsafe table.entries(of: leaf)
        table.remove(pages, leaf: leaf) { page, entry in
            guard unsafe takes(page, slots + TablePool.slot(of: page)) else { return false }
            count += 1
            tally.count(entry, .none)
            guard entry.isPresent else { return true }
            if entry.isDeviceMapped {
                dropped.append(page)
                nodes.disown(entry.pfn, into: &held)
            } else {
                nodes.disown(entry.pfn, into: &freed)
            }
            return true
        }
        if !dropped.isEmpty { drop(dropped, frames: held) }
        return count
    }

    /// Takes the frames of pages that failed away, and leaves markers in their place: from now on touches of these pages
    /// fail, and what comes back from the page cache is let go. No device maps them any more.
    ///
    /// - Returns: which pages failed.
    mutating func poison(
        _ pages: Range<UInt64>, filter: PageFilter, as kind: PageTableEntry.Marker, into freed: inout FreedFrames
    ) -> PageRuns {
        var (runs, seized) = (PageRuns(), PageRuns())
        var tally = PageTally(nodes)
        var holes = StorageHoles(in: pool)
        let (nodes, pool) = (nodes, pool)
        unsafe forEachMatch(pages, filter: filter) { page, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            if entry.isDeviceMapped { seized.append(page) }
            nodes.disown(entry.pfn, into: &freed).noteVictim(entry.pfn, buffer: table.owner, page: page)
            // A reply may be reading what it held: that must not see zeros. They go with the marker then.
            let keepsBytes = unsafe entry.isWritten && pool.isRead(pool.slot(of: slot).table)
            if entry.isWritten, !keepsBytes { unsafe holes.add(slot) }
            unsafe tally.set(slot, to: PageTableEntry(marking: kind, of: entry, keepsBytes: keepsBytes))
            runs.append(page)
        }
        tally.flush(in: &self)
        holes.punch()
        for page in seized.runs.joined() { seize(page) }
        return runs
    }

    /// Puts a frame that its page table has the marker of back into that place, as zeros.
    mutating func unpoison(_ page: UInt64, with pfn: PFN) {
        guard let slot = unsafe table.entry(of: page) else { preconditionFailure("a marker without a leaf") }
        if PageTableEntry(rawValue: unsafe slot.pointee).isWritten {
            var holes = StorageHoles(in: pool)
            unsafe holes.add(slot)
            holes.punch()
        }
        var tally = PageTally(nodes)
        unsafe tally.set(slot, to: PageTableEntry(pfn: pfn))
        tally.flush(in: &self)
    }

    /// Takes markers away, so that the pages may get a frame again. The caller calls ``TablePool/punchEmptied()`` afterwards.
    mutating func removeMarkers(_ pages: Range<UInt64>) {
        var tally = PageTally(nodes)
        var page = pages.lowerBound
        while page < pages.upperBound {
            let part = page..<min(pages.upperBound, TablePool.leafEnd(of: page))
            page = part.upperBound
            guard let leaf = table.leaf(of: part.lowerBound) else { continue }
            table.remove(part, leaf: leaf) { _, entry in
                guard entry.marker != nil else { return false }
                tally.count(entry, .none)
                return true
            }
        }
        tally.flush(in: &self)
    }

    // MARK: Flags

    /// Changes entries that are meant, in place.
    mutating func update(
        _ pages: Range<UInt64>, filter: PageFilter = .all, _ change: (UInt64, inout PageTableEntry) -> Void
    ) {
        var tally = PageTally(nodes)
        unsafe forEachMatch(pages, filter: filter) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            change(page, &entry)
            unsafe tally.set(slot, to: entry)
        }
        tally.flush(in: &self)
    }

    /// Marks pages as about to move (folio_isolate_lru()).
    mutating func isolate(_ pages: Range<UInt64>, filter: PageFilter) {
        update(pages, filter: filter) { $1.isMigrating = true }
    }

    /// Ends that (folio_putback_lru()).
    mutating func putBack(_ pages: Range<UInt64>, filter: PageFilter) {
        update(pages, filter: filter) { $1.isMigrating = false }
    }

    /// Notes that those of some pages that may be in the page cache are about to leave it: ``Memory/unmap(_:of:)`` does it.
    /// What is written back meanwhile does not bring them there, a read does. The caller holds the buffer's unmap turn, too.
    mutating func uncache(_ pages: Range<UInt64>, filter: PageFilter = .all) -> PageRuns {
        var runs = PageRuns()
        update(pages, filter: filter) { page, entry in if entry.uncache() { runs.append(page) } }
        return runs
    }

    /// Ends that.
    mutating func endUnmapping(_ pages: Range<UInt64>) {
        update(pages, filter: .unmapping) { $1.isUnmapping = false }
    }

    /// Makes base pages of a huge page (split_huge_page()); never of a reserved one.
    mutating func split(_ unit: Range<UInt64>) {
        update(unit) { _, entry in
            assert(!entry.isPooled)
            entry.isHuge = false
        }
    }
}

extension PageTableEntry {
    /// Notes that the page is about to leave the page cache; false where it is not there.
    mutating func uncache() -> Bool {
        guard isCached else { return false }
        isCached = false
        isUnmapping = true
        return true
    }
}

extension NodeMap {
    /// Notes that no page table has a frame any more, which is free once `freed` is released; its node.
    @discardableResult
    func disown(_ pfn: PFN, into freed: inout FreedFrames) -> Node {
        let node = node(of: pfn)
        node.frames.setOwner(of: node.index(of: pfn), to: FrameTable.unmapped)
        freed.append(pfn, node: node)
        return node
    }
}

extension Node {
    /// Notes whose page a frame was that failed.
    func noteVictim(_ pfn: PFN, buffer: UInt64, page: UInt64) {
        let frame = index(of: pfn)
        zone.withLock { zone in zone.failed.update(frame) { ($0.buffer, $0.page) = (buffer, page) } }
    }
}

extension PageTable {
    /// Whether the pages of a leaf are parts of a huge page: all of them or none.
    func isHuge(_ leaf: UInt32) -> Bool { PageTableEntry(rawValue: unsafe entries(of: leaf)[0]).isHuge }
}
