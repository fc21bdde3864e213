import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// A process that can reach a mount, for as long as there is one.
///
/// The daemon is in a mount namespace itself, which lives as long as it does, and with that its own mount and the copies of
/// others: those must not keep a machine alive that no other process can reach any more, as after the end of a process in a
/// namespace of its own with it. So one process is watched that is no daemon and sees the mount or is in the daemon's
/// namespace, and when that one has gone another is looked for.
struct Witness: ~Copyable {
    private let minor: Int
    /// The daemon's mount namespace.
    private let own = ProcFile.link("/proc/self/ns/mnt") ?? ""
    private var process: pid_t = 0
    /// Readable once it has ended.
    private var end: Int32 = -1
    /// Its mount table, which tells poll(2) of each change.
    private var table: Int32 = -1

    /// Looks for one for the mount at a path.
    init?(at mountPoint: String) {
        guard let path = resolvedPath(mountPoint), let mount = MountInfo.uppermost(at: FilePath(path)) else {
            return nil
        }
        minor = mount.device.minor
        find()
    }

    deinit { for descriptor in [end, table] where descriptor >= 0 { close(descriptor) } }

    /// Whether there is one.
    var isThere: Bool { process > 0 }

    /// What to poll for its end and for changes of what it sees.
    var entries: [pollfd] {
        [
            pollfd(fd: end, events: Int16(POLLIN), revents: 0),
            pollfd(fd: table, events: Int16(POLLPRI), revents: 0),
        ]
    }

    /// Looks whether it still is one, and for another one if not.
    mutating func check() {
        var entry = pollfd(fd: end, events: Int16(POLLIN), revents: 0)
        if isThere, unsafe poll(&entry, 1, 0) == 0, canReach(process) { return }
        find()
    }

    private mutating func find() {
        for descriptor in [end, table] where descriptor >= 0 { close(descriptor) }
        (process, end, table) = (0, -1, -1)
        for candidate in ProcFile.processes where candidate != getpid() && !MountHolder.isDaemon(candidate) {
            guard canReach(candidate) else { continue }
            end = pidfd_open(candidate, 0)
            guard end >= 0 else { continue }
            table = unsafe open("/proc/\(candidate)/mountinfo", O_RDONLY | O_CLOEXEC)
            process = candidate
            return
        }
    }

    /// Whether a process sees the mount, is in the daemon's namespace, or keeps that for those who come later, as unshare(1)
    /// does with a file.
    private func canReach(_ candidate: pid_t) -> Bool {
        if !own.isEmpty, ProcFile.link("/proc/\(candidate)/ns/mnt") == own { return true }
        let mounts = (try? MountInfo.all(of: candidate)) ?? []
        if mounts.contains(where: {
            $0.device.minor == minor && $0.isMachine || $0.type == "nsfs" && $0.root == own
        }) {
            return true
        }
        let folder = "/proc/\(candidate)/fd"
        return !own.isEmpty
            && (DirectoryListing.numbers(in: folder) ?? []).contains { ProcFile.link("\(folder)/\($0)") == own }
    }

    /// Takes every machine out of the daemon's mount namespace, so that each ends with its last user.
    ///
    /// - Throws: EPERM for who may not.
    static func leaveMounts() throws(Errno) {
        // What is unmounted here is to stay elsewhere.
        guard unsafe mount(nil, "/", nil, UInt(MS_REC | MS_PRIVATE), nil) == 0 else { throw Errno.last }
        try MountInfo.detach { _ in true }
    }
}
