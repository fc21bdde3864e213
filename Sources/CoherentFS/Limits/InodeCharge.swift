import CoherentMemory
import SystemPackage

/// An inode that counts in its owner's share, for as long as it is there: named, open, or known to the kernel.
final class InodeCharge: Sendable {
    private let quota: Quota
    private let owner: Mutex<UInt32>

    /// Charges it.
    ///
    /// - Throws: ENOSPC where there are no more, EDQUOT where the owner has too many.
    init(_ quota: Quota, to owner: UInt32, by task: Int32) throws(Errno) {
        try quota.charge(to: owner, by: task)
        self.quota = quota
        self.owner = Mutex(owner)
    }

    deinit { quota.release(of: owner.withLock { $0 }) }

    /// Makes it another's. EDQUOT where that one has too many then.
    func transfer(to user: UInt32, by task: Int32) throws(Errno) {
        try owner.withLock { owner throws(Errno) in
            try quota.transfer(from: owner, to: user, by: task)
            owner = user
        }
    }
}
