import CoherentMemory
import CoherentTree
import Fuse
import LinuxSupport
import Synchronization
import SystemPackage

/// What a file takes of what is limited, and of whose share. Guarded with the file's use.
struct Charges {
    /// Who owns the file.
    var owner: UInt32 = 0
    /// Whether it counts as a direct buffer of the owner's.
    var isDirect = false
    /// Who pinned it, and how many bytes of it; nil while it is not pinned.
    var pin: Pin?

    /// As of shmctl(2), SHM_LOCK: it counts for the user who pinned it, who need not own the file.
    struct Pin {
        var user: UInt32
        var bytes: UInt64
    }
}

/// What users have of what is limited.
final class Accounts: Sendable {
    let inodes: Quota
    let direct: Quota
    let pinned: Quota
    let mirrors: Quota
    let mirrorCalls: Quota
    /// The shares of coherent nodes of users with buffers; nil where every user may have all.
    let frames: FrameShares?

    /// - Parameter memory: bytes of the machine, of which a share may be pinned where nothing else limits that.
    init(_ limits: Limits, memory: UInt64) {
        let share = limits.userShare
        frames = limits.userFrames == 0 ? nil : FrameShares(percent: limits.userFrames)
        inodes = Quota(limit: limits.inodes, share: share, full: .noSpace)
        direct = Quota(limit: limits.direct, share: share, full: .tooManyOpenFiles)
        pinned = Quota(
            limit: limits.pinned, of: limits.pinned == 0 ? memory : limits.pinned, share: share, full: .noSpace)
        mirrors = Quota(
            limit: Limits.mirrors, share: share, full: .tooManyOpenFiles, exceeded: .tooManyOpenFiles,
            hasExemptions: false)
        mirrorCalls = Quota(
            limit: Limits.mirrorCalls, share: share, full: .resourceTemporarilyUnavailable,
            exceeded: .resourceTemporarilyUnavailable, hasExemptions: false)
    }

    /// Charges a pin of bytes to the user who asks for it, or more bytes of one that is there.
    ///
    /// - Throws: `refusal` where it is more than the task may lock (RLIMIT_MEMLOCK), EAGAIN as mmap(2) with MAP_LOCKED has it
    ///   unless another error is given; EDQUOT and ENOSPC where it is more than the user, or all, may pin.
    func pin(
        _ charges: inout Charges, bytes: UInt64, by task: Int32, refusal: Errno = .resourceTemporarilyUnavailable
    ) throws(Errno) {
        let known = charges.pin
        guard bytes > known?.bytes ?? 0 || known == nil else { return }
        let credentials = Credentials(task: task)
        let user = known?.user ?? credentials?.uid ?? .max
        let more = bytes - (known?.bytes ?? 0)
        if !(credentials?.has(.lockMemory) ?? false) {
            let limit = credentials == nil ? 0 : ProcLimits.lockedMemory(of: task)
            let (sum, overflow) = pinned.used(by: user).addingReportingOverflow(more)
            guard !overflow, sum <= limit else { throw refusal }
        }
        try pinned.charge(more, to: user, by: task)
        charges.pin = Charges.Pin(user: user, bytes: bytes)
    }

    /// Gives back what is beyond so many bytes of a pin.
    func trim(_ charges: inout Charges, to bytes: UInt64) {
        guard let pin = charges.pin, pin.bytes > bytes else { return }
        pinned.release(pin.bytes - bytes, of: pin.user)
        charges.pin!.bytes = bytes
    }

    /// Gives a pin back.
    func unpin(_ charges: inout Charges) {
        if let pin = charges.pin { pinned.release(pin.bytes, of: pin.user) }
        charges.pin = nil
    }

    /// Counts a buffer that is to be direct.
    ///
    /// - Throws: EDQUOT where its owner has too many of them, EMFILE where all have.
    func beginDirect(_ charges: inout Charges, by task: Int32) throws(Errno) {
        try direct.charge(to: charges.owner, by: task)
        charges.isDirect = true
    }

    /// The buffer is direct no longer.
    func endDirect(_ charges: inout Charges) {
        if charges.isDirect { direct.release(of: charges.owner) }
        charges.isDirect = false
    }

    /// What the file takes is another user's from now on. EDQUOT where that one has too much then.
    func chown(_ charges: inout Charges, to user: UInt32, by task: Int32) throws(Errno) {
        if charges.isDirect { try direct.transfer(from: charges.owner, to: user, by: task) }
        charges.owner = user
    }
}

extension Services {
    /// Pins the pages of a buffer where they are, or lets them go.
    ///
    /// - Throws: as ``Accounts/pin(_:bytes:by:refusal:)`` and ``Machine/setPinned(_:of:)``.
    func setPinned(_ isPinned: Bool, of buffer: Buffer, by writer: Int32) throws(Errno) {
        guard let file = pageCache.file(of: buffer) else { throw .operationNotSupportedByDevice }
        try file.use.withLock { use throws(Errno) in
            if isPinned { try accounts.pin(&use.charges, bytes: buffer.size, by: writer) }
            do throws(Errno) {
                try machine.setPinned(isPinned, of: buffer)
            } catch {
                if !buffer.isPinned { accounts.unpin(&use.charges) }
                throw error
            }
            if !isPinned { accounts.unpin(&use.charges) }
            file.isPinned.store(isPinned, ordering: .relaxed)
        }
    }
}
