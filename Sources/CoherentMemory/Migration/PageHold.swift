import LinuxSupport
import SystemPackage

/// Pages of a buffer that are on their way over a link that takes its time: who touches one waits until it has arrived
/// (the migration entries of mm/migrate.c). Those of the range are meant that are marked as migrating.
///
/// The buffer's lock guards it; while there is one, its maker has the buffer's migration turn.
final class PageHold: @unchecked Sendable {
    // Unchecked: see above.
    let pages: Range<UInt64>
    /// What is to be done when they have arrived.
    var waiters: [@Sendable () -> Void] = []

    init(_ pages: Range<UInt64>) { self.pages = pages }
}

extension Machine {
    /// How often pages that somebody brings back into the page cache are taken out again.
    private static let attempts = 8

    /// Takes pages that are about to move out of the page cache, and holds touches of them back until ``letGo(of:)``.
    ///
    /// Called with the buffer's migration turn, by a thread that the page cache does not wait for. Reads are held back only
    /// once no invalidation of theirs is under way: that waits for the lock of a page, which the kernel holds for a read. Of
    /// a direct buffer, and of pages that programs bring back again and again, nobody is held back.
    func holdBack(_ pages: Range<UInt64>, of buffer: Buffer, filter: PageFilter) {
        guard !buffer.isDirect else { return }
        buffer.unmapTurn.withLock { _ in
            for attempt in 0...Self.attempts {
                let cached = buffer.state.withLock { state in
                    unsafe forEachMatch(pages, filter: filter, in: state) { _, slot in
                        var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                        entry.isMigrating = true
                        unsafe slot.pointee = entry.rawValue
                    }
                    let cached = attempt < Self.attempts ? uncache(pages, filter: filter, of: &state) : PageRuns()
                    if cached.runs.isEmpty { state.hold = PageHold(pages) }
                    return cached
                }
                if cached.runs.isEmpty { return }
                unmap(cached, of: buffer)
            }
        }
    }

    /// Lets those who wait for pages that were on their way have them.
    func letGo(of buffer: Buffer) {
        let waiters = buffer.state.withLock { state -> [@Sendable () -> Void] in
            guard let hold = state.hold else { return [] }
            unsafe forEachMatch(hold.pages, filter: .migrating, in: state) { _, slot in
                var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                entry.isMigrating = false
                unsafe slot.pointee = entry.rawValue
            }
            state.hold = nil
            return hold.waiters
        }
        for waiter in waiters { waiter() }
    }

    /// EAGAIN where a page of a range is on its way. The caller holds the buffer's lock.
    @inline(__always)
    func checkMoving(_ pages: Range<UInt64>, in state: borrowing Buffer.State) throws(Errno) {
        guard let hold = state.hold else { return }
        if isMoving(pages, hold, in: state) { throw .resourceTemporarilyUnavailable }
    }

    func isMoving(_ pages: Range<UInt64>, _ hold: PageHold, in state: borrowing Buffer.State) -> Bool {
        guard hold.pages.overlaps(pages) else { return false }
        var isMoving = false
        unsafe forEachMatch(hold.pages.clamped(to: pages), filter: .migrating, in: state) { _, _ in isMoving = true }
        return isMoving
    }
}
