internal import CFuse3
import Glibc
public import SystemPackage

/// A file of the daemon that the kernel maps in place of files of the mount.
public struct BackingID: Hashable, Sendable {
    /// The kernel's number for it, positive.
    let rawValue: Int32
}

extension Notifier {
    /// Allows files of the mount to be mapped from an open file of the daemon, which may be closed afterwards (FUSE
    /// passthrough, Linux 6.9). Workers may call it, too.
    ///
    /// - Parameter file: a regular file of a file system that is not stacked on another.
    /// - Returns: a value for ``OpenReply/backing``, valid until ``releaseBacking(_:)``.
    /// - Throws: EPERM without CAP_SYS_ADMIN, or if the kernel has not agreed to it; ENOTTY and EINVAL if the kernel
    ///   does not support it; ELOOP for a stacked file system; ENODEV without a session.
    public func registerBacking(_ file: FileDescriptor) throws(Errno) -> BackingID {
        let result = unsafe withSession { unsafe cfuse3_backing_open($0, file.rawValue) }
        guard result > 0 else { throw result == 0 ? .ioError : Errno(rawValue: -result) }
        return BackingID(rawValue: result)
    }

    /// Releases a backing file. Open files and mappings keep it.
    ///
    /// - Throws: ENODEV without a session; the file was released with the session.
    public func releaseBacking(_ id: BackingID) throws(Errno) {
        let result = unsafe withSession { unsafe cfuse3_backing_close($0, id.rawValue) }
        guard result == 0 else { throw Errno(rawValue: -result) }
    }
}
