import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// A tmpfs of its own for one file, mounted nowhere: its limit of blocks is the file's.
///
/// One block of it is always in use by a sentinel, for a limit of 0 would be none.
final class PrivateTmpfs: Sendable {
    private let root: FileDescriptor

    /// - Parameter isHuge: whether files have huge pages where these lie within their size.
    /// - Throws: EPERM without CAP_SYS_ADMIN, ENODEV and ENOSYS where the host has no such thing, EMFILE.
    init(isHuge: Bool) throws(Errno) {
        let context = try SystemCall.check(unsafe fsopen("tmpfs", UInt32(FSOPEN_CLOEXEC)))
        defer { close(context) }
        // The sentinel's block, until there is more to hold: nothing huge fits into it.
        try Self.set(context, "nr_blocks", "1")
        try Self.set(context, "mode", "0700")
        try Self.setHuge(context, isHuge)
        try Self.command(context, FSCONFIG_CMD_CREATE.rawValue)
        root = FileDescriptor(
            rawValue: try SystemCall.check(
                fsmount(context, UInt32(FSMOUNT_CLOEXEC), UInt32(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV))))
        do throws(Errno) {
            let sentinel = try make("sentinel")
            defer { close(sentinel.rawValue) }
            try SystemCall.check(unsafe pwrite(sentinel.rawValue, "", 1, 0))
        } catch {
            close(root.rawValue)
            throw error
        }
    }

    deinit { close(root.rawValue) }

    /// Makes a file.
    func make(_ name: String) throws(Errno) -> FileDescriptor {
        let flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC
        return FileDescriptor(
            rawValue: try SystemCall.check(unsafe openat(root.rawValue, name, flags, 0o600 as mode_t)))
    }

    /// Changes how many blocks of a page there may be, the sentinel's apart.
    ///
    /// - Throws: EINVAL where more are in use.
    func setLimit(_ pages: UInt64) throws(Errno) {
        try reconfigure { context throws(Errno) in try Self.set(context, "nr_blocks", "\(pages + 1)") }
    }

    /// Changes whether files get huge pages from now on.
    func setHuge(_ isHuge: Bool) throws(Errno) {
        try reconfigure { context throws(Errno) in try Self.setHuge(context, isHuge) }
    }

    private func reconfigure(_ change: (Int32) throws(Errno) -> Void) throws(Errno) {
        let context = try SystemCall.check(unsafe fspick(root.rawValue, "", UInt32(FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)))
        defer { close(context) }
        try change(context)
        try Self.command(context, FSCONFIG_CMD_RECONFIGURE.rawValue)
    }

    /// What is beyond a file's size is never a huge page's: it would take what others were promised.
    private static func setHuge(_ context: Int32, _ isHuge: Bool) throws(Errno) {
        do throws(Errno) {
            try set(context, "huge", isHuge ? "within_size" : "never")
        } catch .invalidArgument {
            // A kernel without huge pages has no word for them.
        }
    }

    private static func set(_ context: Int32, _ key: String, _ value: String) throws(Errno) {
        try SystemCall.check(
            unsafe value.withCString { value in
                unsafe fsconfig(context, UInt32(FSCONFIG_SET_STRING.rawValue), key, value, 0)
            })
    }

    private static func command(_ context: Int32, _ command: UInt32) throws(Errno) {
        try SystemCall.check(fsconfig(context, command, nil, nil, 0))
    }
}
