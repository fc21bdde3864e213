internal import CFuse3
import CLinux
import Glibc
import SystemPackage

/// A fixed number of threads that read requests and serve them, each with a buffer of its own.
@safe
final class WorkerPool: Sendable {
    private struct State {
        var threads: [pthread_t] = []
        var running = 0
        var isServing = false
        var isJoined = false
        var isStopping = false
        var isConnectionGone = false
    }

    private let state = Monitor(State())

    /// Readable once the last worker has left.
    let endEvent: FileDescriptor

    init() throws(Errno) {
        let descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard descriptor >= 0 else { throw lastError() }
        endEvent = FileDescriptor(rawValue: descriptor)
    }

    deinit {
        try? endEvent.close()
    }

    /// What ends the read(2) of an idle worker; its handler does nothing.
    private static let wakeSignal: Int32 = {
        let signal = clinux_sigrtmin() + 6
        var action = sigaction()
        unsafe action.__sigaction_handler.sa_handler = { _ in }
        unsafe sigaction(signal, &action, nil)
        return signal
    }()

    @safe private final class Task {
        let session: OpaquePointer
        let pool: WorkerPool

        init(_ session: OpaquePointer, _ pool: WorkerPool) {
            unsafe self.session = unsafe session
            self.pool = pool
        }
    }

    /// Starts `count` workers; when one cannot be started, the others are ended again.
    func start(_ count: Int, _ session: OpaquePointer) throws(Errno) {
        precondition(count > 0)
        _ = Self.wakeSignal
        // A worker inherits the mask: no signal of the process is delivered to one, before it runs either.
        var all = sigset_t()
        var before = sigset_t()
        unsafe sigfillset(&all)
        unsafe pthread_sigmask(SIG_SETMASK, &all, &before)
        let error = state.withLock { state -> Int32 in
            precondition(state.threads.isEmpty, "a session is started once")
            for _ in 0..<count {
                var thread = pthread_t()
                let task = unsafe Unmanaged.passRetained(Task(session, self))
                let error = unsafe pthread_create(
                    &thread, nil,
                    { argument in
                        let task = unsafe Unmanaged<Task>.fromOpaque(argument!).takeRetainedValue()
                        unsafe task.pool.run(task.session)
                        return nil
                    }, task.toOpaque())
                if error != 0 {
                    unsafe task.release()
                    return error
                }
                state.threads.append(thread)
                state.running += 1
            }
            return 0
        }
        unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
        if error != 0 {
            unsafe fuse_session_exit(session)
            stop()
            throw Errno(rawValue: error)
        }
    }

    private func run(_ session: OpaquePointer) {
        WorkerThread.enter()
        var wake = sigset_t()
        unsafe sigemptyset(&wake)
        unsafe sigaddset(&wake, Self.wakeSignal)
        unsafe pthread_sigmask(SIG_UNBLOCK, &wake, nil)

        var buffer = unsafe fuse_buf()
        var hasAnnounced = false
        while unsafe fuse_session_exited(session) == 0 {
            let result = unsafe fuse_session_receive_buf(session, &buffer)
            if result == -EINTR || result == -EAGAIN { continue }
            if result <= 0 {
                // libfuse gives 0 for ENODEV, when the kernel has ended the connection, and after fuse_session_exit().
                if result == 0 { state.update { $0.isConnectionGone = !$0.isStopping } }
                break
            }
            unsafe fuse_session_process_buf(session, &buffer)
            if !hasAnnounced {
                // The first request is INIT, and its answer has been written.
                hasAnnounced = true
                state.update { $0.isServing = true }
            }
        }
        unsafe free(buffer.mem)
        // One that leaves on an error must not leave the others to a mount that nobody ends.
        unsafe fuse_session_exit(session)
        state.update { state in
            state.running -= 1
            // Within the lock: whoever has waited for the end may close the descriptor.
            if state.running == 0 { eventfd_write(endEvent.rawValue, 1) }
        }
    }

    /// To be called before fuse_session_exit(), so that this end is told apart from the connection's.
    func prepareToStop() { state.update { $0.isStopping = true } }

    /// Whether the kernel has ended the connection, so that its number may be another mount's by now.
    var isConnectionGone: Bool { state.withLock { $0.isConnectionGone } }

    /// Waits until the answer to INIT has been taken; false when the workers ended before.
    func waitUntilServing() -> Bool {
        var isServing = false
        state.wait { state in
            isServing = state.isServing && state.running > 0
            return state.isServing || state.running == 0
        }
        return isServing
    }

    /// Waits until all workers have left.
    func wait() {
        precondition(!WorkerThread.isCurrent, "a worker waits for itself")
        state.wait { $0.running == 0 }
        join()
    }

    /// Wakes the workers of a session that was told to exit and waits for them. One that serves a request finishes it first.
    func stop() {
        precondition(!WorkerThread.isCurrent, "a worker waits for itself")
        // Again and again: the signal is lost on one that was about to call read(2).
        while !state.wait(milliseconds: 2, until: { $0.running == 0 }) {
            state.withLock { state in
                for thread in state.threads { pthread_kill(thread, Self.wakeSignal) }
            }
        }
        join()
    }

    private func join() {
        let threads = state.withLock { state in
            defer { state.threads = [] }
            return state.threads
        }
        for thread in threads { pthread_join(thread, nil) }
        if !threads.isEmpty { state.update { $0.isJoined = true } }
        state.wait { $0.isJoined || $0.threads.isEmpty }
    }
}
