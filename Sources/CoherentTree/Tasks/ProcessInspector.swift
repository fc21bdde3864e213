import CoherentMemory
import Dispatch
import LinuxSupport
import Synchronization
import SystemPackage

/// Reads of other processes' address spaces, each with a deadline.
///
/// Whatever of /proc/PID takes the lock of an address space (maps, smaps, pagemap, numa_maps, mem) may wait for ever: the
/// owner can hold that lock for as long as it likes, as by a page of a FUSE mount of its own that it does not write back
/// (fuse_vma_close() of fs/fuse/file.c), and open(2) of them waits for an execve(2) that does not return. So each such
/// read has a thread of its own, which is left behind where no answer comes. Its process is not asked again before that
/// thread has returned, and a user's processes keep only so many threads.
///
/// What else is read of a process (stat, status, comm, mountinfo, the links of fd) takes no lock of that kind.
final class ProcessInspector: Sendable {
    /// How far a read has come, for who waits for it.
    final class Progress: Sendable {
        fileprivate let steps = Atomic(0)
        fileprivate let finished = DispatchGroup()
        /// Whose process it waits for, once that has taken too long.
        fileprivate let user = Mutex<UInt32?>(nil)

        /// The read has come a step further.
        func step() { steps.wrappingAdd(1, ordering: .relaxed) }
    }

    private struct State {
        var queries: [TaskIdentity: Progress] = [:]
        /// Threads that have not come back, by the users whose processes they wait for.
        var overdue = UserSlots(total: 64, share: 3, reserve: 16)
    }

    /// What a read came to.
    private final class Answer<Value: Sendable>: Sendable {
        let result = Mutex<Result<Value, Errno>?>(nil)
    }

    /// A read that does not come a step further for so long waits for another process.
    static let timeout = DispatchTimeInterval.milliseconds(150)
    /// However many steps it takes, it has an end: an owner may let each step wait.
    private static let limit = Duration.seconds(2)

    private let state = Mutex(State())
    private let threads = JobThreads()

    /// Runs `body`, which reads the state of a process, on a thread of its own.
    ///
    /// - Parameter user: whose process it is; needed only where processes of some user do not let themselves be read.
    /// - Throws: what `body` throws; ETIMEDOUT where the process does not let itself be read, nor did before, or the user has
    ///   too many that do not.
    func read<Value: Sendable>(
        _ process: TaskIdentity, of user: () -> UInt32, timeout: DispatchTimeInterval = timeout,
        _ body: @escaping @Sendable (Progress) -> Result<Value, Errno>
    ) throws(Errno) -> Value {
        let progress = try begin(process, user, timeout)
        let answer = Answer<Value>()
        threads.run(isShort: false) { [self] in
            let result = body(progress)
            answer.result.withLock { $0 = result }
            end(process, progress)
        }
        try wait(for: process, user, progress, timeout)
        guard let result = answer.result.withLock({ $0 }) else { throw .timedOut }
        return try result.get()
    }

    /// Notes that a process is being asked. Waits for who asks it at the moment.
    private func begin(
        _ process: TaskIdentity, _ user: () -> UInt32, _ timeout: DispatchTimeInterval
    ) throws(Errno) -> Progress {
        let user = state.withLock { $0.overdue.isUnused } ? nil : user()
        let deadline = DispatchTime.now() + timeout
        while true {
            let mine = Progress()
            let other = try state.withLock { state throws(Errno) -> Progress? in
                if let other = state.queries[process] {
                    guard other.user.withLock({ $0 }) == nil else { throw .timedOut }
                    return other
                }
                if let user, state.overdue.areTaken(for: user) { throw .timedOut }
                state.queries[process] = mine
                mine.finished.enter()
                return nil
            }
            guard let other else { return mine }
            guard other.finished.wait(timeout: deadline) == .success else { throw .timedOut }
        }
    }

    private func end(_ process: TaskIdentity, _ progress: Progress) {
        state.withLock { state in
            state.queries[process] = nil
            if let user = progress.user.withLock({ $0 }) { state.overdue.giveBack(by: user) }
        }
        progress.finished.leave()
    }

    private func wait(
        for process: TaskIdentity, _ user: () -> UInt32, _ progress: Progress, _ timeout: DispatchTimeInterval
    ) throws(Errno) {
        let start = ContinuousClock.now
        var steps = 0
        while progress.finished.wait(timeout: .now() + timeout) != .success {
            let now = progress.steps.load(ordering: .relaxed)
            if now != steps, .now - start < Self.limit {
                steps = now
                continue
            }
            let user = user()
            let isOver = state.withLock { state in
                guard state.queries[process] === progress else { return true }
                progress.user.withLock { $0 = user }
                state.overdue.add(user)
                return false
            }
            if !isOver { throw .timedOut }
        }
    }
}
