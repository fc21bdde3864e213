import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// The signals that end the daemon, as a descriptor to poll beside others.
struct TerminationSignals {
    private let descriptor: FileDescriptor

    /// Blocks them for this thread and those that it starts.
    init() throws(Failure) { descriptor = try Self.descriptor() }

    /// The same as a descriptor to read, of other signals, too (signalfd(2)).
    static func descriptor(and others: [Int32] = []) throws(Failure) -> FileDescriptor {
        // A shell starts its background jobs with SIGINT ignored; an ignored SIGHUP (nohup) is a user's wish.
        signal(SIGINT, SIG_DFL)
        signal(SIGTERM, SIG_DFL)
        signal(SIGPIPE, SIG_IGN)
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in [SIGTERM, SIGINT, SIGHUP] + others { unsafe sigaddset(&set, signal) }
        unsafe sigprocmask(SIG_BLOCK, &set, nil)
        let descriptor = unsafe signalfd(-1, &set, Int32(SFD_CLOEXEC))
        guard descriptor >= 0 else { throw Failure(.failure, "signalfd: \(Errno.last)") }
        return FileDescriptor(rawValue: descriptor)
    }

    /// What came first.
    enum Event {
        /// A signal, by its name.
        case signal(String)
        /// The descriptor is readable.
        case end
        /// Something has happened to what is also watched.
        case other
    }

    /// Waits for one of them, until `end` is readable, or for one of the `others`.
    func wait(orFor end: FileDescriptor, _ others: [pollfd]) -> Event {
        var entries = [descriptor, end].map { pollfd(fd: $0.rawValue, events: Int16(POLLIN), revents: 0) } + others
        _ = try? SystemCall.retry { unsafe poll(&entries, UInt(entries.count), -1) }
        guard entries[0].revents != 0 else { return entries[1].revents != 0 ? .end : .other }
        var info = signalfd_siginfo()
        _ = unsafe withUnsafeMutableBytes(of: &info) { unsafe try? descriptor.read(into: $0) }
        switch Int32(info.ssi_signo) {
        case SIGTERM: return .signal("SIGTERM")
        case SIGINT: return .signal("SIGINT")
        default: return .signal("SIGHUP")
        }
    }
}
