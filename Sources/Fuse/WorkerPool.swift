internal import CFuse3
import CLinux
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// The threads that serve requests: a fixed number that read them, each into a buffer of its own, and one for each ring.
@safe
final class WorkerPool: Sendable {
    private struct State {
        var threads: [SystemThread] = []
        var running = 0
        var isServing = false
        var isJoined = false
        var isStopping = false
        var isConnectionGone = false
        var hasInitialized = false
        /// Whether requests are to come over rings; nil before INIT was answered.
        var wantsRings: Bool?
        var ringsUp = 0
        var ringFailure: Errno?
    }

    private let state = Monitor(State())

    /// Readable once the last worker has left.
    let endEvent: FileDescriptor

    init() throws(Errno) {
        let descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard descriptor >= 0 else { throw Errno.last }
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

    /// What a session has its threads do.
    @safe struct Plan {
        /// Threads that read /dev/fuse; at least 1.
        let workers: Int
        let session: OpaquePointer
        /// The rings, where there are any.
        var rings: RingSet?
        /// Whether the mount is not to be served without them.
        var requiresRings = false
        /// Called once, with INIT as it came, before it is answered.
        var onInit: @Sendable (InitRequest) -> Void = { _ in }
        /// Called once, when the answer to INIT has been taken.
        var onInitialized: @Sendable () -> Void = {}
        /// Called when a ring is broken: nobody would answer what waits there, so the connection must end.
        var onBrokenRing: @Sendable (Errno) -> Void = { _ in }
    }

    @safe private final class Task: @unchecked Sendable {
        // Unchecked: it is one thread's.
        let pool: WorkerPool
        let plan: Plan
        let ring: Ring?

        init(_ pool: WorkerPool, _ plan: Plan, _ ring: Ring?) {
            self.pool = pool
            self.plan = plan
            self.ring = ring
        }

        func run() {
            if let ring { pool.run(ring, plan) } else { pool.run(plan) }
        }
    }

    /// Starts the workers; when one cannot be started, the others are ended again.
    func start(_ plan: Plan) throws(Errno) {
        precondition(plan.workers > 0)
        _ = Self.wakeSignal
        let tasks = ([Ring?](repeating: nil, count: plan.workers) + (plan.rings?.rings ?? [])).map {
            Task(self, plan, $0)
        }
        let error = state.withLock { state -> Errno? in
            precondition(state.threads.isEmpty, "a session is started once")
            do throws(Errno) {
                for task in tasks {
                    state.threads.append(try SystemThread { task.run() })
                    state.running += 1
                }
                return nil
            } catch {
                return error
            }
        }
        if let error {
            prepareToStop()
            unsafe fuse_session_exit(plan.session)
            plan.rings?.stop()
            stop()
            throw error
        }
    }

    // MARK: Workers

    private func run(_ plan: Plan) {
        WorkerThread.enter()
        var wake = sigset_t()
        unsafe sigemptyset(&wake)
        unsafe sigaddset(&wake, Self.wakeSignal)
        unsafe pthread_sigmask(SIG_UNBLOCK, &wake, nil)

        let session = unsafe plan.session
        var buffer = unsafe fuse_buf()
        var isFirst = true
        while unsafe fuse_session_exited(session) == 0 {
            let result = unsafe fuse_session_receive_buf(session, &buffer)
            if result == -EINTR || result == -EAGAIN { continue }
            if result <= 0 {
                // libfuse gives 0 for ENODEV, when the kernel has ended the connection, and after fuse_session_exit().
                if result == 0 { state.update { $0.isConnectionGone = !$0.isStopping } }
                break
            }
            // The first request is INIT.
            if isFirst {
                let message = unsafe UnsafeRawBufferPointer(start: buffer.mem, count: Int(result))
                if let initialization = unsafe InitRequest(message) {
                    plan.onInit(initialization)
                    if let rings = plan.rings, initialization.offers.contains(.overIOUring) {
                        rings.isWanted.store(true, ordering: .sequentiallyConsistent)
                    }
                }
            }
            unsafe TemporaryFile.translate(UnsafeMutableRawBufferPointer(start: buffer.mem, count: Int(result)))
            unsafe fuse_session_process_buf(session, &buffer)
            if isFirst {
                isFirst = false
                hasInitialized(plan)
            }
        }
        unsafe free(buffer.mem)
        // One that leaves on an error must not leave the others to a mount that nobody ends.
        unsafe fuse_session_exit(session)
        plan.rings?.stop()
        leave()
    }

    private func hasInitialized(_ plan: Plan) {
        let wantsRings = plan.rings?.isWanted.load(ordering: .sequentiallyConsistent) == true
        let isFirst = state.update { state in
            if state.hasInitialized { return false }
            state.hasInitialized = true
            state.wantsRings = wantsRings
            if !wantsRings {
                if plan.requiresRings {
                    state.ringFailure = .notSupported
                } else {
                    state.isServing = true
                }
            }
            return true
        }
        if isFirst { plan.onInitialized() }
    }

    private func leave() {
        state.update { state in
            if state.wantsRings == nil { state.wantsRings = false }
            state.running -= 1
            // Within the lock: whoever has waited for the end may close the descriptor.
            if state.running == 0 { eventfd_write(endEvent.rawValue, 1) }
        }
    }

    // MARK: Rings

    private func run(_ ring: Ring, _ plan: Plan) {
        WorkerThread.enter()
        var wantsRings = false
        state.wait { state in
            wantsRings = state.wantsRings == true && !state.isStopping
            return state.wantsRings != nil || state.isStopping
        }
        if wantsRings {
            var failure: Errno?
            do throws(Errno) {
                try ring.register()
                failure = unsafe ring.serve(plan.session) { isUp(plan) }
            } catch {
                failure = error
            }
            if let failure {
                hasFailed(plan, failure)
            } else if usesRings {
                // The connection is gone, or the session is being stopped.
                unsafe fuse_session_exit(plan.session)
            }
        }
        leave()
    }

    private func isUp(_ plan: Plan) {
        state.update { state in
            state.ringsUp += 1
            // Only now does the kernel send anything.
            if state.ringsUp == plan.rings?.rings.count { state.isServing = state.ringFailure == nil }
        }
    }

    private func hasFailed(_ plan: Plan, _ error: Errno) {
        let isBroken = state.update { state in
            if state.isServing && state.ringFailure == nil {
                state.isStopping = true
                return true
            }
            // Refused before the kernel was ready to use them: it asks the classic way.
            state.ringFailure = error
            if !plan.requiresRings { state.isServing = true }
            return false
        }
        plan.rings?.stop()
        if isBroken {
            plan.onBrokenRing(error)
            unsafe fuse_session_exit(plan.session)
        }
    }

    /// Whether requests come over rings.
    var usesRings: Bool { state.withLock { $0.wantsRings == true && $0.ringFailure == nil } }

    /// Why they do not, where they were to.
    var ringFailure: Errno? { state.withLock { $0.ringFailure } }

    // MARK: The end

    /// To be called before fuse_session_exit(), so that this end is told apart from the connection's.
    func prepareToStop() { state.update { $0.isStopping = true } }

    /// Whether the kernel has ended the connection, so that its number may be another mount's by now.
    var isConnectionGone: Bool { state.withLock { $0.isConnectionGone } }

    /// Waits until the answer to INIT has been taken, and the rings are up where there are any; false when the workers ended
    /// before, or the rings that are required are not to be had.
    func waitUntilServing() -> Bool {
        var isServing = false
        state.wait { state in
            isServing = state.isServing && state.running > 0
            return state.isServing || state.running == 0 || state.ringFailure != nil
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
                for thread in state.threads { thread.send(Self.wakeSignal) }
            }
        }
        join()
    }

    private func join() {
        let threads = state.withLock { state in
            defer { state.threads = [] }
            return state.threads
        }
        for thread in threads { thread.join() }
        if !threads.isEmpty { state.update { $0.isJoined = true } }
        state.wait { $0.isJoined || $0.threads.isEmpty }
    }
}
