import CLinux
import Glibc
import SystemPackage

/// The signals that end the daemon, as a descriptor to poll beside others.
struct TerminationSignals {
    private let descriptor: FileDescriptor

    /// Blocks them for this thread and those that it starts.
    init() throws(Failure) {
        // A shell starts its background jobs with SIGINT ignored; an ignored SIGHUP (nohup) is somebody's wish.
        signal(SIGINT, SIG_DFL)
        signal(SIGTERM, SIG_DFL)
        signal(SIGPIPE, SIG_IGN)
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in [SIGTERM, SIGINT, SIGHUP] { unsafe sigaddset(&set, signal) }
        unsafe sigprocmask(SIG_BLOCK, &set, nil)
        let descriptor = unsafe signalfd(-1, &set, Int32(SFD_CLOEXEC))
        guard descriptor >= 0 else { throw Failure(.failure, "signalfd: \(lastError())") }
        self.descriptor = FileDescriptor(rawValue: descriptor)
    }

    /// Waits for one of them, or until `other` is readable; the signal's name, `nil` where it was the other.
    func wait(orFor other: FileDescriptor) -> String? {
        var entries = [descriptor, other].map { pollfd(fd: $0.rawValue, events: Int16(POLLIN), revents: 0) }
        while unsafe poll(&entries, 2, -1) < 0, Glibc.errno == EINTR {}
        guard entries[0].revents != 0 else { return nil }
        var info = signalfd_siginfo()
        _ = unsafe withUnsafeMutableBytes(of: &info) { unsafe try? descriptor.read(into: $0) }
        switch Int32(info.ssi_signo) {
        case SIGTERM: return "SIGTERM"
        case SIGINT: return "SIGINT"
        default: return "SIGHUP"
        }
    }
}
