import Glibc
import LinuxSupport
import SystemPackage

/// Interrupts deferred requests whose callers are ending.
///
/// Of a request that its caller does not wait for, by aio(7) or io_uring(7), the kernel sends no FUSE_INTERRUPT, whatever becomes of the
/// caller. And a process that has such a request under way does not end before it is answered: not even SIGKILL helps
/// (exit_aio() of fs/aio.c).
final class AbandonmentWatch: @unchecked Sendable {
    // Unchecked: `thread` is set by `start` and taken by `stop`, which the session calls one after the other.
    private static let interval = 1000

    private let notifier: Notifier
    private let isOver = Monitor(false)
    private var thread: SystemThread?

    init(_ notifier: Notifier) { self.notifier = notifier }

    /// Starts the thread that looks now and then. Without one, those who are killed wait a little longer.
    func start() { thread = try? SystemThread { self.run() } }

    private func run() {
        while !isOver.wait(milliseconds: Self.interval, until: { $0 }) { notifier.interruptAbandoned() }
    }

    func stop() {
        isOver.update { $0 = true }
        thread?.join()
        thread = nil
    }
}

extension ProcStat {
    /// Whether every thread of a process is on its way out.
    static func isEnding(_ process: Int32) -> Bool {
        guard let threads = DirectoryListing.numbers(in: "/proc/\(process)/task") else {
            return Errno.last == .noSuchFileOrDirectory
        }
        return threads.allSatisfy { ProcStat(thread: $0, of: process)?.isExiting ?? true }
    }
}
