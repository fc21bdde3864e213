import CoherentMemory
import CoherentTree
import LinuxSupport
import SystemPackage

/// Something scarce, counted in all and for each user (`struct dquot` of Linux, without grace times).
final class Quota: Sendable {
    private struct State {
        var total: UInt64 = 0
        var byUser: [UInt32: UInt64] = [:]
    }

    /// What there is in all; nil for no limit.
    let limit: UInt64?
    private let userLimit: UInt64?
    private let full: Errno
    private let exceeded: Errno
    private let hasExemptions: Bool
    private let state = Mutex(State())

    /// - Parameters:
    ///   - limit: what there is in all, 0 for no limit.
    ///   - whole: what a share is of; `limit` unless given.
    ///   - share: what one user may have, percent; 0 for all.
    ///   - full: the error where there is no more.
    ///   - exceeded: the error where a user has too much.
    ///   - hasExemptions: whether privileged tasks may have more than a share.
    init(
        limit: UInt64, of whole: UInt64? = nil, share: UInt64, full: Errno, exceeded: Errno = .diskQuotaExceeded,
        hasExemptions: Bool = true
    ) {
        self.limit = limit == 0 ? nil : limit
        let whole = whole ?? limit
        // Without overflow; a share of a little is one at least.
        userLimit = whole == 0 || share == 0 ? nil : max(1, whole / 100 * share + whole % 100 * share / 100)
        self.full = full
        self.exceeded = exceeded
        self.hasExemptions = hasExemptions
    }

    /// Whether a task may take more than a user's share: the user who mounts, root, and tasks with CAP_SYS_RESOURCE, as of disk quotas.
    static func isExempt(user: UInt32?, task: Int32) -> Bool {
        if user == owner.uid { return true }
        guard let credentials = Credentials(task: task) else { return false }
        return credentials.uid == owner.uid || credentials.uid == 0 || credentials.has(.overrideQuota)
    }

    /// How much is taken.
    var used: UInt64 { state.withLock { $0.total } }

    /// How much a user has taken.
    func used(by user: UInt32) -> UInt64 { state.withLock { $0.byUser[user, default: 0] } }

    /// Takes some for a user, on behalf of a task, which is asked for its rights only where the user has too much.
    ///
    /// - Throws: EDQUOT where the user has too much, or the error for it; what it is where there is no more.
    func charge(_ amount: UInt64 = 1, to user: UInt32, by task: Int32) throws(Errno) {
        if try add(amount, to: user, isExempt: false) { return }
        guard hasExemptions, Self.isExempt(user: user, task: task) else { throw exceeded }
        _ = try add(amount, to: user, isExempt: true)
    }

    /// False where only the user's share stands against it.
    private func add(_ amount: UInt64, to user: UInt32, isExempt: Bool) throws(Errno) -> Bool {
        try state.withLock { state throws(Errno) in
            let (total, overflow) = state.total.addingReportingOverflow(amount)
            guard !overflow, total <= limit ?? .max else { throw full }
            // No more than the total, so it does not overflow.
            let own = state.byUser[user, default: 0] + amount
            guard isExempt || own <= userLimit ?? .max else { return false }
            state.total = total
            state.byUser[user] = own
            return true
        }
    }

    /// Gives some of a user's back.
    func release(_ amount: UInt64 = 1, of user: UInt32) {
        guard amount > 0 else { return }
        state.withLock { state in
            let own = state.byUser[user, default: 0]
            assert(own >= amount, "more is released than was charged")
            // A wrong count is no reason to end the mount for all users.
            let amount = min(own, amount)
            state.total -= amount
            state.byUser[user] = own == amount ? nil : own - amount
        }
    }

    /// Makes some of one user's another's; the total stays.
    ///
    /// - Throws: EDQUOT where the other has too much then, unless the task is privileged.
    func transfer(_ amount: UInt64 = 1, from old: UInt32, to new: UInt32, by task: Int32) throws(Errno) {
        func move(isExempt: Bool) -> Bool {
            state.withLock { state in
                let own = state.byUser[old, default: 0]
                assert(own >= amount, "more is transferred than was charged")
                let amount = min(own, amount)
                let other = state.byUser[new, default: 0] + amount
                guard isExempt || other <= userLimit ?? .max else { return false }
                state.byUser[old] = own == amount ? nil : own - amount
                state.byUser[new] = other
                return true
            }
        }
        guard old != new, amount > 0, !move(isExempt: false) else { return }
        guard hasExemptions, Self.isExempt(user: nil, task: task) else { throw exceeded }
        _ = move(isExempt: true)
    }
}
