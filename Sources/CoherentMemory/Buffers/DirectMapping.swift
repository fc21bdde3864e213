import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// How programs map the bytes of a buffer.
public enum MappingMode: String, Sendable, Hashable, CaseIterable {
    /// Through the page cache: the daemon sees first touches, and pages get their frames at the first touch.
    case tracked
    /// A file of the buffer's own, which the host maps: the daemon sees no touch, and all frames are taken when the
    /// buffer is sized.
    case direct
}

extension Buffer {
    /// The file with the bytes of a direct buffer; nil for a tracked one.
    public var backing: BackingFile? { isDirect ? state.withLock { $0.backing } : nil }

    /// How programs map the bytes.
    public var mapping: MappingMode { isDirect ? .direct : .tracked }

    @inline(__always)
    var isDirect: Bool { directness.load(ordering: .relaxed) }

    /// The time of the last store through a direct mapping, if there was one since the last call. CLOCK_REALTIME.
    public func takeStoreTime() -> timespec? {
        isDirect ? state.withLock { $0.backing?.takeStoreTime() } : nil
    }

    func setBacking(_ backing: BackingFile?, in state: inout State) {
        state.backing = backing
        directness.store(backing != nil, ordering: .relaxed)
    }
}

extension Memory {
    /// Zeroes a range of a direct buffer; false where it is none. Whole pages that failed are good again, as far as there are
    /// frames for them.
    func punchDirect(_ buffer: Buffer, bytes: Range<UInt64>) -> Bool {
        let first = Page.count(of: bytes.lowerBound)
        let whole = first..<max(first, bytes.upperBound >> Page.shift)
        let restored = buffer.state.withLock { state -> RangeSet<UInt64>? in
            guard let backing = state.backing else { return nil }
            let restored = state.restoreDirect(whole, in: self)
            backing.zero(bytes)
            return restored
        }
        for pages in restored?.ranges ?? RangeSet().ranges { placeOnHost(pages, of: buffer, moving: true) }
        return restored != nil
    }
}

extension Buffer.State {
    /// Copies what was stored, and gives its memory back.
    mutating func moveBytes(to backing: BackingFile) throws(Errno) {
        let all = 0..<UInt64.max >> Page.shift
        let pool = pages.pool
        var isBusy = false
        unsafe pages.forEachMatch(all) { _, slot in
            let isRead = unsafe pool.isRead(pool.slot(of: slot).table)
            if isRead || PageTableEntry(rawValue: unsafe slot.pointee).isCached { isBusy = true }
        }
        guard !isBusy else { throw .resourceBusy }
        let end = Page.count(of: size)
        var tally = PageTally(pages.nodes)
        var holes = StorageHoles(in: pool)
        unsafe pages.forEachMatch(all) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            guard entry.isWritten else { return }
            if page < end {
                unsafe memcpy(backing.address(of: page << Page.shift), pool.address(of: slot), Int(Page.size))
            }
            unsafe holes.add(slot)
            entry.isWritten = false
            unsafe tally.set(slot, to: entry)
        }
        holes.punch()
        tally.flush(in: &pages)
    }

    /// Copies what the file has into the storage of the page table.
    mutating func takeBytes(from backing: BackingFile) {
        let pool = pages.pool
        var tally = PageTally(pages.nodes)
        backing.forEachData(in: 0..<size) { bytes in
            for page in bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound) {
                guard let slot = unsafe pages.table.entry(of: page) else { continue }
                var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                let address = unsafe backing.address(of: page << Page.shift)
                unsafe pool.storage.fill(
                    pool.place(of: slot), with: UnsafeRawBufferPointer(start: address, count: Int(Page.size)))
                entry.isWritten = true
                unsafe tally.set(slot, to: entry)
            }
        }
        tally.flush(in: &pages)
    }

    /// Gives the pages of a direct buffer that were withheld back, as zeros; those for which there is no frame stay away. The
    /// caller holds the buffer's lock, and then has what came back where it belongs (``Memory/placeOnHost(_:of:in:moving:)``).
    ///
    /// - Returns: the pages that were withheld.
    @discardableResult
    mutating func restoreDirect(_ range: Range<UInt64>, in memory: Memory) -> RangeSet<UInt64> {
        guard let backing else { return RangeSet() }
        let wanted = backing.withheld.intersection(RangeSet(range))
        for range in wanted.ranges {
            for first in stride(from: range.lowerBound, to: range.upperBound, by: HugePage.frames) {
                let part = first..<min(range.upperBound, first + UInt64(HugePage.frames))
                pages.removeMarkers(part)
                do throws(Errno) {
                    try populate(part, in: memory, origin: Origin(pid: 0, node: memory.nodes[0].id), policy: .all)
                    try backing.restore(part)
                } catch {
                    // The next hole tries again.
                }
            }
        }
        return wanted
    }

    /// Takes pages of a direct buffer away from all programs, with what they held; does nothing to a tracked one. The caller holds
    /// the buffer's lock, and sees to the frames.
    private func withhold(_ pages: Range<UInt64>) {
        guard let backing else { return }
        do throws(Errno) {
            try backing.withhold(pages)
        } catch {
            // The host holds on to them: then at least what they held is gone, and the next who fails takes them along.
            backing.zero(pages.lowerBound << Page.shift..<pages.upperBound << Page.shift)
            backing.withheld.insert(contentsOf: pages)
        }
    }

    /// Has pages of one unit of 512 fail, as ``PageSet/poison(_:filter:as:into:)`` says; no program can touch those of a direct buffer
    /// any more. The caller invalidates them afterwards, whether they seemed cached or not: a migration may just be taking them
    /// out of the cache.
    ///
    /// A huge page is split first; a reserved one fails as a whole, as in Linux.
    mutating func poison(
        _ range: Range<UInt64>, filter: PageFilter, as kind: PageTableEntry.Marker, into freed: inout FreedFrames
    ) -> PageRuns {
        var (range, filter) = (range, filter)
        if let leaf = pages.table.leaf(of: range.lowerBound), pages.table.isHuge(leaf) {
            guard pages.hasMatch(range, filter: filter) else { return PageRuns() }
            let unit = HugePage.pages(around: range.lowerBound)
            if huge == .pool { (range, filter) = (unit, .all) } else { pages.split(unit) }
        }
        let runs = pages.poison(range, filter: filter, as: kind, into: &freed)
        for run in runs.runs { withhold(run) }
        return runs
    }
}
