import LinuxSupport
import SystemPackage

extension Machine {
    /// Zeroes a range of a direct buffer; false where it is none. Whole pages that failed are good again, as far as there are
    /// frames for them.
    func punchDirect(_ buffer: Buffer, bytes: Range<UInt64>) -> Bool {
        let first = Page.count(of: bytes.lowerBound)
        let whole = first..<max(first, bytes.upperBound >> Page.shift)
        let restored = buffer.state.withLock { state -> RangeSet<UInt64>? in
            guard let backing = state.backing else { return nil }
            let restored = restoreDirect(whole, of: &state)
            backing.zero(bytes)
            return restored
        }
        for pages in restored?.ranges ?? RangeSet().ranges { settle(pages, of: buffer, moving: true) }
        return restored != nil
    }

    /// Gives the pages of a direct buffer that were withheld back, as zeros; those for which there is no frame stay away. The
    /// caller holds the buffer's lock, and then has what came back where it belongs (``settle(_:of:in:moving:)``).
    ///
    /// - Returns: the pages that were withheld.
    @discardableResult
    func restoreDirect(_ pages: Range<UInt64>, of state: inout Buffer.State) -> RangeSet<UInt64> {
        guard let backing = state.backing else { return RangeSet() }
        let wanted = backing.withheld.intersection(RangeSet(pages))
        for range in wanted.ranges {
            for first in stride(from: range.lowerBound, to: range.upperBound, by: HugePage.frames) {
                let part = first..<min(range.upperBound, first + UInt64(HugePage.frames))
                removeMarkers(part, of: &state)
                do throws(Errno) {
                    try populate(part, of: &state, origin: Origin(pid: 0, node: nodes[0].id), policy: .all)
                    try backing.restore(part)
                } catch {
                    // The next hole tries again.
                }
            }
        }
        return wanted
    }

    /// Takes pages of a direct buffer away from everybody, with what they held; does nothing to a tracked one. The caller holds
    /// the buffer's lock, and sees to the frames.
    func withhold(_ pages: Range<UInt64>, of state: inout Buffer.State) {
        guard let backing = state.backing else { return }
        do throws(Errno) {
            try backing.withhold(pages)
        } catch {
            // The host holds on to them: then at least what they held is gone, and the next who fails takes them along.
            backing.zero(pages.lowerBound << Page.shift..<pages.upperBound << Page.shift)
            backing.withheld.insert(contentsOf: pages)
        }
    }

    /// Appends runs of pages of a direct buffer, at least `enough` in all if there are as many. As stores are not seen, what
    /// was ever touched counts as dirty.
    func appendDirectRuns(
        of buffer: Buffer, from first: UInt64, isPinned: Bool, upTo enough: Int, to runs: inout [PageRun]
    ) {
        // A part after the other, for what is touched may be in many pieces.
        let part: UInt64 = 4096
        var start = first
        while runs.count < enough {
            // Not only within the size: a huge page may reach behind the end.
            let next = buffer.state.withLock { $0.table.nextLeaf(from: start).map { max(start, $0.1) } }
            guard let next else { return }
            let pages = next..<next + part
            let touched = touchedPages(of: buffer, in: pages)
            var place = 0
            forEachPage(of: buffer, in: pages, includingFailed: true) { page, entry in
                while place < touched.count, touched[place].upperBound <= page { place += 1 }
                let isTouched = place < touched.count && touched[place].contains(page)
                append(entry, page: page, isPinned: isPinned, isDirty: isTouched && entry.isPresent, to: &runs)
            }
            start = pages.upperBound
        }
        runs.removeLast(runs.count - enough)
    }

    /// The pages of a part of a direct buffer that somebody touched.
    private func touchedPages(of buffer: Buffer, in pages: Range<UInt64>) -> RangeSet<UInt64>.Ranges {
        buffer.state.withLock { state in
            var touched = RangeSet<UInt64>()
            let bytes = pages.lowerBound << Page.shift..<pages.upperBound << Page.shift
            state.backing?.forEachData(in: bytes.clamped(to: 0..<state.size)) { bytes in
                touched.insert(contentsOf: bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound))
            }
            return touched.ranges
        }
    }
}
