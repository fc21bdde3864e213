import CoherentMemory
import CoherentTree
import LinuxSupport
import SystemPackage

/// An inode that counts in its owner's share, for as long as it is there: named, open, or known to the kernel.
///
/// Its stored attributes count, too: so many inodes as their bytes would make (`free_ispace` of mm/shmem.c).
final class InodeCharge: Sendable {
    private struct State {
        var owner: UInt32
        var inodes: UInt64 = 1
    }

    /// The bytes of attributes that count as an inode (BOGO_INODE_SIZE).
    private static let bytesPerInode = 1024

    private let quota: Quota
    private let state: Mutex<State>

    /// Charges it.
    ///
    /// - Throws: ENOSPC where there are no more, EDQUOT where the owner has too many.
    init(_ quota: Quota, to owner: UInt32, by task: Int32) throws(Errno) {
        try quota.charge(to: owner, by: task)
        self.quota = quota
        state = Mutex(State(owner: owner))
    }

    deinit { state.withLock { quota.release($0.inodes, of: $0.owner) } }

    /// Makes it another's. EDQUOT where that one has too many then.
    func transfer(to user: UInt32, by task: Int32) throws(Errno) {
        try state.withLock { state throws(Errno) in
            try quota.transfer(state.inodes, from: state.owner, to: user, by: task)
            state.owner = user
        }
    }

    /// Counts so many bytes of attributes with it. ENOSPC and EDQUOT as of an inode.
    func count(attributes bytes: Int, by task: Int32) throws(Errno) {
        let inodes = 1 + UInt64((bytes + Self.bytesPerInode - 1) / Self.bytesPerInode)
        try state.withLock { state throws(Errno) in
            if inodes > state.inodes { try quota.charge(inodes - state.inodes, to: state.owner, by: task) }
            if inodes < state.inodes { quota.release(state.inodes - inodes, of: state.owner) }
            state.inodes = inodes
        }
    }
}
