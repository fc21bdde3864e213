import CLinux
import CSeccomp
import Glibc
import SystemPackage

/// The system calls that root's daemon may use once it has mounted (seccomp(2)).
///
/// What is not in the table is ENOSYS, as on a kernel that has no such call: glibc and the Swift runtime then go another way,
/// and one that was forgotten costs a user an error and not all users the mount. What starts a program or takes the kernel over
/// is the end of the process, for the daemon never does it: an intruder has taken it over.
///
/// The tables are what a trace of the mount suites shows (`mount-scripts/trace-calls`; a test compares its record, Tests/calls.x86_64),
/// and what glibc does in their place on other hosts.
enum CallFilter {
    /// By what they are for.
    static let allowed: KeyValuePairs<String, [String]> = [
        "requests, logs, and files of /proc and /sys": [
            "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2",
            "open", "openat",
            "close", "lseek", "fstat", "stat", "lstat", "newfstatat", "statx", "statfs", "fstatfs", "access",
            "faccessat",
            "faccessat2", "readlink", "readlinkat", "getdents64", "fcntl", "flock", "dup", "dup2", "dup3", "pipe2",
            "ioctl",
            "getcwd", "chdir", "umask",
        ],
        "memory": [
            "mmap", "munmap", "mremap", "mprotect", "madvise", "mincore", "brk", "msync", "mlock", "munlock",
            "membarrier",
            "memfd_create", "ftruncate", "fallocate", "sync_file_range", "mbind", "get_mempolicy", "set_mempolicy",
            "move_pages",
        ],
        "threads and their waits": [
            "futex", "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "sched_yield",
            "sched_getaffinity",
            "sched_setaffinity", "sched_getscheduler", "sched_setscheduler", "sched_getparam", "sched_setparam",
            "sched_getattr", "sched_setattr", "sched_get_priority_min", "sched_get_priority_max", "getcpu", "gettid",
            "exit",
            "exit_group", "prctl", "arch_prctl", "setpriority", "getpriority", "poll", "ppoll", "select", "pselect6",
            "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
            "epoll_pwait2", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime", "signalfd4",
            "nanosleep",
            "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "pause", "restart_syscall",
        ],
        "signals": [
            "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "rt_sigsuspend",
            "sigaltstack",
            "tgkill", "kill",
        ],
        "identity": [
            "getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getrandom", "uname", "sysinfo",
            "getrlimit", "prlimit64", "setrlimit", "getrusage", "capget",
        ],
        "FUSE over io_uring": ["io_uring_setup", "io_uring_enter", "io_uring_register"],
        "direct buffers, each on a tmpfs of its own": ["fsopen", "fsconfig", "fsmount", "fspick"],
        "bulk write-back, by a thread with descriptors of its own": ["open_by_handle_at", "close_range"],
        "other processes": [
            "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "process_vm_readv", "process_madvise", "wait4",
        ],
        "agents in programs, which send descriptors": ["recvfrom", "recvmsg", "shutdown"],
        "the signal of a program that touches memory that failed": ["ptrace"],
        "syslog": ["connect", "sendto", "sendmsg", "getsockname", "getpeername", "getsockopt", "setsockopt"],
        "unmounting, and removal of a directory that was made for the mount": ["umount2", "rmdir"],
    ]

    /// Calls that may be used with some arguments alone: those that have `value` in the bits of `mask`.
    static let conditions: [(call: String, argument: UInt32, mask: UInt64, value: UInt64)] = [
        // Threads, and no processes. clone3, whose arguments no filter sees, is ENOSYS: glibc then takes clone.
        ("clone", 0, UInt64(CLINUX_CLONE_THREAD), UInt64(CLINUX_CLONE_THREAD)),
        // Syslog's. A family takes 32 bits.
        ("socket", 0, 0xffff_ffff, UInt64(AF_UNIX)),
        // Agents'.
        ("socketpair", 0, 0xffff_ffff, UInt64(AF_UNIX)),
        // A directory of its own, for write-back; no namespaces.
        ("unshare", 0, ~UInt64(CLINUX_CLONE_FS), 0),
        // Mounts that it leaves are to stay elsewhere; it makes none (fsmount(2) aside).
        ("mount", 3, ~0, UInt64(MS_REC | MS_PRIVATE)),
    ]

    /// What only an intruder asks for.
    static let fatal = [
        "execve", "execveat", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load",
        "bpf",
        "setns", "pivot_root", "chroot", "reboot", "swapon", "swapoff", "iopl", "ioperm", "userfaultfd", "add_key",
        "request_key",
        "keyctl", "setuid", "setgid", "setresuid", "setresgid", "setgroups", "capset",
    ]

    /// Puts the filter in force on every thread of the process. EINVAL where the kernel has no seccomp.
    static func load() throws(Errno) {
        guard let filter = unsafe seccomp_init(cseccomp_refuse()) else { throw .noMemory }
        defer { unsafe seccomp_release(filter) }
        func check(_ result: Int32) throws(Errno) { if result < 0 { throw Errno(rawValue: -result) } }
        try check(unsafe seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1))
        for (_, names) in allowed {
            for name in names { try unsafe add(filter, cseccomp_allow(), name) }
        }
        for (name, argument, mask, value) in conditions {
            let call = unsafe seccomp_syscall_resolve_name(name)
            try check(unsafe cseccomp_add_masked(filter, cseccomp_allow(), call, argument, mask, value))
        }
        for name in fatal { try unsafe add(filter, cseccomp_kill(), name) }
        try check(unsafe seccomp_load(filter))
    }

    private static func add(_ filter: scmp_filter_ctx, _ action: UInt32, _ name: String) throws(Errno) {
        // Not every architecture has every call, and an older library does not know every name.
        let call = unsafe seccomp_syscall_resolve_name(name)
        guard call >= 0 else { return }
        let result = unsafe seccomp_rule_add_array(filter, action, call, 0, nil)
        guard result == 0 else { throw Errno(rawValue: -result) }
    }
}
