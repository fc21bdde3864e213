internal import CFuse3
import Glibc
public import SystemPackage

/// A file of the daemon's that the kernel maps in place of files of the mount.
public struct BackingID: Hashable, Sendable {
    /// The kernel's number for it, positive.
    let rawValue: Int32
}

extension Notifier {
    /// Lets files of the mount be mapped from an open file of the daemon's, which may be closed then (FUSE passthrough,
    /// Linux 6.9). Allowed on workers, too.
    ///
    /// - Parameter file: a regular file of a file system that is stacked on no other.
    /// - Returns: what ``OpenReply/backing`` takes, until ``releaseBacking(_:)``.
    /// - Throws: EPERM without CAP_SYS_ADMIN, or where the kernel has not agreed to it; ENOTTY and EINVAL where it has no such
    ///   thing; ELOOP for a stacked file system; ENODEV without a session.
    public func registerBacking(_ file: FileDescriptor) throws(Errno) -> BackingID {
        let result = unsafe withSession { unsafe cfuse3_backing_open($0, file.rawValue) }
        guard result > 0 else { throw result == 0 ? .ioError : Errno(rawValue: -result) }
        return BackingID(rawValue: result)
    }

    /// Gives a backing file up. Open files and mappings that have it keep it.
    ///
    /// - Throws: ENODEV without a session, with which it went anyway.
    public func releaseBacking(_ id: BackingID) throws(Errno) {
        let result = unsafe withSession { unsafe cfuse3_backing_close($0, id.rawValue) }
        guard result == 0 else { throw Errno(rawValue: -result) }
    }
}
