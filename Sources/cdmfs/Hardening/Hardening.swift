import CLinux
import Glibc
import LinuxSupport
import Logging
import SystemPackage

/// What the daemon gives up, so that a fault in it gives as little as possible to an intruder.
///
/// A user's own daemon has nothing that its user has not, and fusermount3, which unmounts for it, is set-user-ID: there only
/// the environment goes.
struct Hardening {
    /// Whether system calls that it has no use for are refused.
    var filtersCalls = true
    /// /proc/PID/oom_score_adj; nil leaves it as it is.
    var oomScore: Int?

    private static var isRoot: Bool { geteuid() == 0 }

    /// Gives up what is not even needed for mounting. Before there is another thread, for capabilities are a thread's.
    func begin() throws(Failure) {
        if let oomScore {
            do {
                try SmallFile.write("\(oomScore)", to: "/proc/self/oom_score_adj")
            } catch {
                throw Failure(.failure, "mount: oom_score_adj=\(oomScore): \(error)")
            }
        }
        // Read once, before it cannot be any more.
        tzset()
        clinux_clear_environment()
        guard Self.isRoot else { return }
        Self.raiseFileLimit()
        guard clinux_keep_capabilities(KeptCapability.mask) == 0 else {
            throw Failure(.failure, "mount: capabilities: \(Errno.last)")
        }
        // No core dump with the bytes of all users, and no process without CAP_SYS_PTRACE looks into it.
        guard clinux_set_dumpable(0) == 0, clinux_set_no_new_privs() == 0 else {
            throw Failure(.failure, "mount: prctl: \(Errno.last)")
        }
    }

    /// Refuses the system calls that only mounting took, on every thread.
    func finish(_ logger: Logger) {
        guard filtersCalls, Self.isRoot else { return }
        do throws(Errno) {
            try CallFilter.load()
        } catch {
            logger.notice("seccomp is not available: \(error); the daemon runs without a system call filter")
        }
    }

    /// Each direct buffer takes two descriptors; and the limit cannot be raised without CAP_SYS_RESOURCE.
    private static func raiseFileLimit() {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard unsafe getrlimit(resource, &limit) == 0 else { return }
        let wanted = max(limit.rlim_max, 1 << 20)
        var higher = rlimit(rlim_cur: wanted, rlim_max: wanted)
        if unsafe setrlimit(resource, &higher) == 0 { return }
        limit.rlim_cur = limit.rlim_max
        unsafe setrlimit(resource, &limit)
    }
}
