public import Glibc
public import SystemPackage

/// A POSIX thread (pthreads(7)), with every signal blocked: the signals of the process go to its first thread.
public struct SystemThread: Sendable {
    /// The thread's handle.
    public let handle: pthread_t

    /// Starts a thread that runs `body` and ends. It must be joined or detached, once.
    ///
    /// - Throws: EAGAIN if the host has no more threads.
    public init(_ body: @escaping @Sendable () -> Void) throws(Errno) {
        // A thread inherits the mask: no signal is delivered to it, before it runs either.
        var all = sigset_t()
        var before = sigset_t()
        unsafe sigfillset(&all)
        unsafe pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
        var handle = pthread_t()
        let task = unsafe Unmanaged.passRetained(Body(body))
        let error = unsafe pthread_create(
            &handle, nil,
            { argument in
                unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, task.toOpaque())
        guard error == 0 else {
            unsafe task.release()
            throw Errno(rawValue: error)
        }
        self.handle = handle
    }

    /// Waits for its end.
    public func join() { pthread_join(handle, nil) }

    /// Detaches it, so that it need not be joined.
    public func detach() { pthread_detach(handle) }

    /// Sends a signal to it; it must not have been joined.
    public func send(_ signal: Int32) { pthread_kill(handle, signal) }

    /// Sleeps for the whole duration, regardless of signals.
    public static func sleep(for duration: Duration) {
        let (seconds, attoseconds) = duration.components
        var rest = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
        while true {
            var wanted = rest
            guard unsafe nanosleep(&wanted, &rest) != 0, Errno.last == .interrupted else { return }
        }
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void

        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
}
