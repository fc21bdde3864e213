import SystemPackage

/// Pages of a buffer that are on their way over a link that takes its time: who touches one waits until it has arrived
/// (the migration entries of mm/migrate.c). Those of the range are meant that are marked as migrating.
///
/// The buffer's lock guards it; while there is one, its maker has the buffer's migration turn.
final class PageHold: @unchecked Sendable {
    // Unchecked: see above.
    let pages: Range<UInt64>
    /// Whether no page of it is about to leave the page cache any more. Until then only touches are held back of which no page
    /// is, or was a moment ago, in the page cache: the one that takes pages out waits for the locks of these.
    var isComplete = false
    /// What is to be done when they have arrived.
    var waiters: [@Sendable () -> Void] = []

    init(_ pages: Range<UInt64>) { self.pages = pages }
}

extension Buffer.State {
    /// EAGAIN where a page of a range is on its way.
    @inline(__always)
    func checkMoving(_ range: Range<UInt64>) throws(Errno) {
        if hold != nil, isMoving(range) { throw .resourceTemporarilyUnavailable }
    }

    /// Whether a page of a range is on its way.
    func isMoving(_ range: Range<UInt64>) -> Bool {
        guard let hold, hold.pages.overlaps(range),
            pages.hasMatch(hold.pages.clamped(to: range), filter: .migrating)
        else { return false }
        return hold.isComplete || holders(of: range).cached == 0
    }

    /// EAGAIN where a device maps a page of a range.
    @inline(__always)
    func checkDevices(_ range: Range<UInt64>, isWrite: Bool = false) throws(Errno) {
        guard !pages.contexts.isEmpty else { return }
        let found = holders(of: range)
        // A write that may not wait takes the pages at once.
        if found.mapped > 0, !isWrite || found.cached == 0 { throw .resourceTemporarilyUnavailable }
    }

    /// How many pages of a range have frames, are mapped by devices, and may be in the page cache.
    func holders(of range: Range<UInt64>) -> (present: Int, mapped: Int, cached: Int) {
        var found = (present: 0, mapped: 0, cached: 0)
        unsafe pages.forEachMatch(range) { _, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            found.present += 1
            if entry.isDeviceMapped { found.mapped += 1 }
            if entry.isCached || entry.isUnmapping { found.cached += 1 }
        }
        return found
    }
}
