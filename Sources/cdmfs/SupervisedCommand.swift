import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// A child that stands for this process: signals that this process gets go on to it, and it stops and ends for both.
struct SupervisedCommand {
    private let pid: pid_t
    /// The mount namespace that the child is in once it runs the command; empty if it ended before.
    private let namespace: String

    /// How the child has ended.
    enum Ending {
        case exited(Int32)
        case signalled(Int32)

        /// Ends this process in the same way.
        func imitate() -> Never {
            if case .signalled(let signal) = self {
                // The child has left its core already.
                var none = rlimit()
                unsafe setrlimit(__rlimit_resource_t(UInt32(RLIMIT_CORE.rawValue)), &none)
                Glibc.signal(signal, SIG_DFL)
                var set = sigset_t()
                unsafe sigemptyset(&set)
                unsafe sigaddset(&set, signal)
                unsafe sigprocmask(SIG_UNBLOCK, &set, nil)
                kill(getpid(), signal)
            }
            switch self {
            case .exited(let status): Glibc.exit(status)
            case .signalled(let signal): Glibc.exit(128 + signal)
            }
        }
    }

    /// Starts this program once more with other arguments, in which `--start FD` comes first, and waits until it has become
    /// the command or ended.
    init(_ name: String, _ arguments: [String], inheriting descriptor: FileDescriptor) throws {
        // The child closes the writing end when it executes the command.
        let start = try FileDescriptor.pipe()
        for end in [start.readEnd, start.writeEnd] { _ = fcntl(end.rawValue, F_SETFD, FD_CLOEXEC) }
        defer { try? start.readEnd.close() }
        var mask = sigset_t()
        var all = sigset_t()
        unsafe sigfillset(&all)
        // From here on signals wait until `wait()` takes them.
        unsafe sigprocmask(SIG_BLOCK, &all, &mask)
        pid = try Self.spawn(
            ["cdmfs", name, "--start", "\(start.writeEnd.rawValue)"] + arguments, [descriptor, start.writeEnd], mask)
        try start.writeEnd.close()
        var byte: UInt8 = 0
        _ = unsafe withUnsafeMutableBytes(of: &byte) { unsafe try? start.readEnd.read(into: $0) }
        namespace = Self.namespace(of: "\(pid)")
    }

    private static func spawn(
        _ arguments: [String], _ descriptors: [FileDescriptor], _ mask: sigset_t
    ) throws -> pid_t {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        // Of a descriptor onto itself: it stays open.
        for descriptor in descriptors {
            unsafe posix_spawn_file_actions_adddup2(&actions, descriptor.rawValue, descriptor.rawValue)
        }
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var mask = mask
        unsafe posix_spawnattr_setsigmask(&attributes, &mask)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var pid: pid_t = 0
        let status = unsafe withArgumentVector(arguments) {
            unsafe posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, $0, Glibc.environ)
        }
        guard status == 0 else { throw Errno(rawValue: status) }
        return pid
    }

    /// Waits until the child ends; forwards signals to it meanwhile, and stops while it is stopped.
    func wait() -> Ending {
        var all = sigset_t()
        unsafe sigfillset(&all)
        while true {
            // One that came before this loop has left no signal to wait for.
            if let ending = look() { return ending }
            var info = unsafe siginfo_t()
            let signal = unsafe sigwaitinfo(&all, &info)
            switch signal {
            case SIGCHLD: break
            // The terminal has sent it to the child, too, which is in the same process group.
            case _ where unsafe info.si_code == siKernel: break
            case 1...: kill(pid, signal)
            default: break
            }
        }
    }

    /// What has become of the child since the last look.
    private func look() -> Ending? {
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, WNOHANG | WUNTRACED) > 0 {
            switch status & 0x7f {
            case 0: return .exited(status >> 8 & 0xff)
            case 0x7f:
                kill(getpid(), SIGSTOP)
                // Here again: this process was continued.
                kill(pid, SIGCONT)
            case let signal: return .signalled(signal)
            }
        }
        return nil
    }

    /// Whether a process is left in the namespace of the child. Agents of the daemon end by themselves.
    var hasLeftProcesses: Bool {
        !namespace.isEmpty
            && ProcFile.processes.contains {
                Self.namespace(of: "\($0)") == namespace && ProcFile.name(of: $0) != "cdmfs-agent"
            }
    }

    /// `mnt:[NUMBER]`; empty where it cannot be told.
    private static func namespace(of process: String) -> String {
        ProcFile.link("/proc/\(process)/ns/mnt") ?? ""
    }

    /// si_code of a signal that the kernel sends, as for Ctrl-C.
    private let siKernel: Int32 = 0x80
}
