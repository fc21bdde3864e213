import CLinux
import CoherentMemory
import Fuse
import Glibc
import LinuxSupport
import Logging
import SystemPackage

/// Has mmap(2) of an attribute fail with ENODEV, as of sysfs.
///
/// The kernel grants private mappings of what goes past the page cache, and the first load of one is SIGBUS. So mappings go to
/// a file that cannot be mapped: an attribute of the host's own sysfs. read(2) and write(2) come here as ever.
final class Unmappable: Sendable {
    /// Of a module that is there: the kernel opens it with the flags of each open(2), so it has to be readable and writable for all users.
    private static let attribute = "module/fuse/parameters/max_user_bgreq"

    private struct State {
        var isKnown = false
        var id: BackingID?
    }

    private let notifier: Notifier
    private let logger: Logger
    private let state = Mutex(State())

    init(notifier: Notifier, logger: Logger) {
        self.notifier = notifier
        self.logger = logger
    }

    /// What mappings go to; nil without CAP_SYS_ADMIN and before Linux 6.9. All opens of an inode must have the same, so the
    /// first answer is the last one.
    var backing: BackingID? {
        state.withLock { state in
            if state.isKnown { return state.id }
            state.isKnown = true
            do throws(Errno) {
                state.id = try register()
            } catch {
                logger.debug(
                    "mmap(2) of control files cannot be refused: \(error); it succeeds, and the first load gets SIGBUS")
            }
            return state.id
        }
    }

    private func register() throws(Errno) -> BackingID {
        // Mounted nowhere: whatever becomes of /sys, it can be written to.
        let context = try SystemCall.check(unsafe fsopen("sysfs", UInt32(FSOPEN_CLOEXEC)))
        defer { close(context) }
        _ = try SystemCall.check(fsconfig(context, FSCONFIG_CMD_CREATE.rawValue, nil, nil, 0))
        let attributes = UInt32(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
        let mount = try SystemCall.check(fsmount(context, UInt32(FSMOUNT_CLOEXEC), attributes))
        defer { close(mount) }
        let file = try SystemCall.check(unsafe openat(mount, Self.attribute, O_RDWR | O_CLOEXEC))
        defer { close(file) }
        return try notifier.registerBacking(FileDescriptor(rawValue: file))
    }
}
