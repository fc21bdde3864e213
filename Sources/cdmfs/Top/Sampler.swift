import CLinux
import Glibc
import LinuxSupport
import MachineMonitor
import Synchronization
import SystemPackage

/// Reads a machine on a thread of its own: one that does not answer does not keep the keys from being taken.
final class Sampler: Sendable {
    private struct State {
        var snapshot: Snapshot?
        var failure: Errno?
        var map: MapRequest?
        var isPaused = false
        /// When the machine answered last.
        var time = LocalClock.nanoseconds
    }

    private let state = Mutex(State())
    private let interval: UInt64
    /// Readable when there is something new to see.
    let news: FileDescriptor
    private let changes: FileDescriptor

    /// Begins to read.
    ///
    /// - Throws: the error of the first sample, of eventfd(2), or of the thread.
    init(_ mount: FilePath, interval: UInt64) throws(Errno) {
        self.interval = interval
        func counter() throws(Errno) -> FileDescriptor {
            FileDescriptor(
                rawValue: try SystemCall.check(eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))))
        }
        (news, changes) = (try counter(), try counter())
        // Where there is no machine, the terminal is left as it is.
        _ = try SmallFile.text(mount.appending("sys/kernel/cdm/metrics"))
        try SystemThread { self.run(MachineReader(mount)) }.detach()
    }

    /// What there is to see; nil before the first sample.
    var snapshot: Snapshot? { state.withLock { $0.snapshot } }

    /// Why there is no more to come.
    var failure: Errno? { state.withLock { $0.failure } }

    /// The seconds for which the machine has not answered, where it should have.
    var silence: Double {
        state.withLock { state in
            let waited = LocalClock.nanoseconds - min(LocalClock.nanoseconds, state.time)
            return state.isPaused || waited < interval ? 0 : Double(waited - interval) / 1e9
        }
    }

    /// Stops, or goes on.
    func setPaused(_ isPaused: Bool) {
        let isNew = state.withLock { state in
            defer {
                state.isPaused = isPaused
                state.time = LocalClock.nanoseconds
            }
            return state.isPaused != isPaused
        }
        if isNew { Self.signal(changes) }
    }

    /// Says the map of which buffer is wanted.
    func setMap(_ map: MapRequest?) {
        let isNew = state.withLock { state in
            defer { state.map = map }
            return state.map != map
        }
        if isNew { Self.signal(changes) }
    }

    /// Takes what has made a descriptor readable.
    static func take(_ descriptor: FileDescriptor) {
        var count: UInt64 = 0
        _ = unsafe withUnsafeMutableBytes(of: &count) { unsafe try? descriptor.read(into: $0) }
    }

    private static func signal(_ descriptor: FileDescriptor) {
        var one: UInt64 = 1
        _ = unsafe withUnsafeBytes(of: &one) { unsafe try? descriptor.write($0) }
    }

    private func run(_ reader: consuming MachineReader) {
        // A crash that is blocked ends the process before the terminal is restored.
        var crashes = sigset_t()
        unsafe sigemptyset(&crashes)
        for signal in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT] { unsafe sigaddset(&crashes, signal) }
        unsafe pthread_sigmask(SIG_UNBLOCK, &crashes, nil)
        var next = LocalClock.nanoseconds
        while true {
            let (map, isPaused) = state.withLock { ($0.map, $0.isPaused) }
            let now = LocalClock.nanoseconds
            do throws(Errno) {
                let isDue = now >= next && !isPaused
                if isDue {
                    next = max(next + interval, now)
                    _ = try reader.sample(interval: interval)
                }
                let snapshot = reader.setMap(map, interval: interval)
                state.withLock { state in
                    state.snapshot = snapshot
                    if isDue { state.time = LocalClock.nanoseconds }
                }
            } catch {
                state.withLock { $0.failure = error }
                Self.signal(news)
                return
            }
            Self.signal(news)
            wait(until: isPaused ? nil : next)
        }
    }

    /// Waits until the wishes change, or a time.
    private func wait(until time: UInt64?) {
        var entry = pollfd(fd: changes.rawValue, events: Int16(POLLIN), revents: 0)
        let left = time.map { Int32(clamping: ($0 - min($0, LocalClock.nanoseconds)) / 1_000_000 + 1) }
        _ = try? SystemCall.retry { unsafe poll(&entry, 1, left ?? -1) }
        Self.take(changes)
    }
}
