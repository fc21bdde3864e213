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
        /// Called when a ring is broken: no thread would answer what waits there, so the connection must end.
        var onBrokenRing: @Sendable (Errno) -> Void = { _ in }
    }

    /// Starts the workers; when one cannot be started, the others are ended again.
    func start(_ plan: Plan) throws(Errno) {
        precondition(plan.workers > 0)
        _ = DeviceSource.wakeSignal
        let rings: [any RequestSource] = plan.rings?.rings ?? []
        let sources: [any RequestSource] = (0..<plan.workers).map { _ in DeviceSource() } + rings
        let jobs = sources.map { Work(pool: self, plan: plan, source: $0) }
        let error = state.withLock { state -> Errno? in
            precondition(state.threads.isEmpty, "a session is started once")
            do throws(Errno) {
                for job in jobs {
                    state.threads.append(try SystemThread { job.run() })
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

    /// What one thread does.
    @safe private struct Work: @unchecked Sendable {
        // Unchecked: the pointer of the plan is valid as long as the session, which waits for the threads.
        let pool: WorkerPool
        let plan: Plan
        let source: any RequestSource

        func run() {
            WorkerThread.enter()
            source.serve(plan, for: pool)
            pool.leave()
        }
    }

    // MARK: What sources report

    /// The kernel has ended the connection, or fuse_session_exit() was called.
    func connectionHasEnded() { state.update { $0.isConnectionGone = !$0.isStopping } }

    /// The answer to INIT was taken.
    func hasInitialized(_ plan: Plan) {
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
            // Within the lock: a thread that has waited for the end may close the descriptor.
            if state.running == 0 { eventfd_write(endEvent.rawValue, 1) }
        }
    }

    // MARK: Rings

    /// Waits until INIT says whether requests come over rings; false if not.
    func waitForRings() -> Bool {
        var wantsRings = false
        state.wait { state in
            wantsRings = state.wantsRings == true && !state.isStopping
            return state.wantsRings != nil || state.isStopping
        }
        return wantsRings
    }

    /// A ring is registered.
    func ringIsUp(_ plan: Plan) {
        state.update { state in
            state.ringsUp += 1
            // Only now does the kernel send anything.
            if state.ringsUp == plan.rings?.rings.count { state.isServing = state.ringFailure == nil }
        }
    }

    /// A ring is not available, or broken.
    func ringHasFailed(_ plan: Plan, _ error: Errno) {
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
                for thread in state.threads { thread.send(DeviceSource.wakeSignal) }
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
