import Glibc
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
    private var thread: pthread_t?

    init(_ notifier: Notifier) { self.notifier = notifier }

    /// Starts the thread that looks now and then. Without one, those who are killed wait a little longer.
    func start() {
        var all = sigset_t()
        var before = sigset_t()
        unsafe sigfillset(&all)
        unsafe pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
        var thread = pthread_t()
        let argument = unsafe Unmanaged.passRetained(self)
        let error = unsafe pthread_create(
            &thread, nil,
            { argument in
                unsafe Unmanaged<AbandonmentWatch>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, argument.toOpaque())
        if error == 0 { self.thread = thread } else { unsafe argument.release() }
    }

    private func run() {
        while !isOver.wait(milliseconds: Self.interval, until: { $0 }) { notifier.interruptAbandoned() }
    }

    func stop() {
        isOver.update { $0 = true }
        if let thread { pthread_join(thread, nil) }
        thread = nil
    }
}

/// Processes of the host, as /proc shows them.
enum HostProcess {
    /// PF_EXITING of linux/sched.h.
    private static let exiting: UInt64 = 4

    /// The process of a thread; nil where there is no such thread any more.
    static func process(ofThread thread: Int32) -> Int32? {
        guard let status = text("/proc/\(thread)/status") else { return nil }
        let line = status.split(separator: "\n").first { $0.hasPrefix("Tgid:") }
        return line?.split(whereSeparator: \.isWhitespace).last.flatMap { Int32($0) }
    }

    /// Whether every thread of a process is on its way out.
    static func isEnding(_ process: Int32) -> Bool {
        guard let directory = unsafe opendir("/proc/\(process)/task") else { return errno == ENOENT }
        defer { unsafe closedir(directory) }
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let thread = Int32(name), let flags = flags(ofThread: thread, of: process) else { continue }
            if flags & exiting == 0 { return false }
        }
        return true
    }

    private static func flags(ofThread thread: Int32, of process: Int32) -> UInt64? {
        guard let stat = text("/proc/\(process)/task/\(thread)/stat"), let name = stat.lastIndex(of: ")") else {
            return nil
        }
        // Behind the name: state, ppid, pgrp, session, tty_nr, tpgid, flags.
        let fields = stat[name...].split(separator: " ")
        return fields.count > 7 ? UInt64(fields[7]) : nil
    }

    private static func text(_ path: String) -> String? {
        (try? SystemFile.read(FilePath(path))).map { String(decoding: $0, as: UTF8.self) }
    }
}
