import LinuxSupport

/// What huge pages in the pools of all nodes are promised to mappings that have not touched them yet (resv_huge_pages of struct hstate).
///
/// A free page that is taken for anything but a promise is asked for here first, whichever node it is on: so the pools never have fewer free
/// pages than were promised, unless free ones fail.
final class HugeReserve: Sendable {
    private struct Counts {
        var free = 0
        var reserved = 0
    }

    private let counts = Mutex(Counts())

    /// Huge pages that are promised.
    var reserved: Int { counts.withLock { $0.reserved } }

    /// Free huge pages of all pools, and those that are promised, at one moment.
    var figures: (free: Int, reserved: Int) { counts.withLock { ($0.free, $0.reserved) } }

    /// A page has come to a pool, free.
    func add() { counts.withLock { $0.free += 1 } }

    /// Asks for a free page that is promised to nobody (available_huge_pages()).
    func take() -> Bool {
        counts.withLock { counts in
            guard counts.free > counts.reserved else { return false }
            counts.free -= 1
            return true
        }
    }

    /// A page that was asked for has not been found, or is promised again.
    func giveBack() { add() }

    /// A free page goes even if it is promised.
    func lose() { counts.withLock { $0.free -= 1 } }

    /// Promises pages (hugetlb_acct_memory()); all of them or none.
    func reserve(_ count: Int) -> Bool {
        counts.withLock { counts in
            guard counts.free - counts.reserved >= count else { return false }
            counts.reserved += count
            return true
        }
    }

    /// Promises are no more.
    func cancel(_ count: Int) { counts.withLock { $0.reserved -= count } }

    /// A promised page has been found.
    func redeem() {
        counts.withLock { counts in
            counts.free -= 1
            counts.reserved -= 1
        }
    }
}
