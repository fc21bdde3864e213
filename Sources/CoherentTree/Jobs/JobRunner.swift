import AttributeTree
import CoherentMemory
import DequeModule
import Dispatch
import LinuxSupport
import SystemPackage

/// Runs what a control file asks for on threads of its own, for it may wait for requests that the workers serve.
package final class JobRunner: Sendable {
    private struct Listed {
        let id: Int
        let operation: Operation
        let cancellation: Cancellation
    }

    private struct State {
        var isClosed = false
        /// Each job has a thread.
        var slots = UserSlots(total: 128, share: 32, reserve: 32)
        var next = 0
        var running: [Int: Cancellation] = [:]
        var lastID = 0
        /// By the number of the job in `running`.
        var listed: [Int: Listed] = [:]
        var ended: Deque<Listed> = []
        /// What waits to be shown, and how many threads show.
        var shows: Deque<@Sendable () -> Void> = []
        var showing = 0
    }

    private static let showThreads = 8
    private static let showLimit = 1024
    /// How many jobs that have ended are kept in the list.
    private static let historyLimit = 64

    private let state = Mutex(State())
    private let group = DispatchGroup()
    private let threads = JobThreads()

    /// Starts a job; `done` gets its error, on the thread that did the work. False when too many run, of the user or in all,
    /// or the mount is closing.
    ///
    /// - Parameter user: who asked for it; root for what the machine does of its own accord.
    @discardableResult
    package func start(
        _ job: Job, for user: UInt32 = 0, _ cancellation: Cancellation, done: @escaping @Sendable (Errno?) -> Void
    ) -> Bool {
        let number = state.withLock { state -> Int? in
            guard !state.isClosed, state.slots.take(for: user) else { return nil }
            state.next += 1
            state.running[state.next] = cancellation
            if let operation = job.details as? Operation {
                operation.account.user = user
                state.lastID += 1
                state.listed[state.next] = Listed(
                    id: state.lastID, operation: operation, cancellation: cancellation)
            }
            return state.next
        }
        guard let number else { return false }
        group.enter()
        threads.run(isShort: job.isShort) {
            defer { self.group.leave() }
            var failure: Errno?
            do throws(Errno) {
                try job.run(cancellation)
            } catch {
                failure = error
            }
            self.close(number, failure)
            done(failure)
            self.state.withLock { state in
                state.running[number] = nil
                state.slots.giveBack(by: user)
            }
        }
        return true
    }

    /// Shows an attribute that may have to wait for other processes, though not for long. Few are shown at a time, for each
    /// takes a thread; the others wait their turn.
    ///
    /// - Returns: false where too many wait, or the mount is closing.
    package func show(_ work: @escaping @Sendable () -> Void) -> Bool {
        let isFirst = state.withLock { state -> Bool? in
            guard !state.isClosed, state.shows.count < Self.showLimit else { return nil }
            guard state.showing < Self.showThreads else {
                state.shows.append(work)
                return false
            }
            state.showing += 1
            return true
        }
        guard let isFirst else { return false }
        guard isFirst else { return true }
        group.enter()
        threads.run(isShort: false) { [self] in
            defer { group.leave() }
            var next: (@Sendable () -> Void)? = work
            while let work = next {
                work()
                next = state.withLock { state in
                    let next = state.isClosed ? nil : state.shows.popFirst()
                    if next == nil { state.showing -= 1 }
                    return next
                }
            }
        }
        return true
    }

    /// Does what a job is about on this thread, if it need not wait; false where nothing was done.
    package func runAtOnce(_ job: Job) throws(Errno) -> Bool {
        var failure: Errno?
        do throws(Errno) {
            guard try job.runAtOnce() else { return false }
        } catch {
            failure = error
        }
        if let operation = job.details as? Operation {
            state.withLock { state in
                state.lastID += 1
                let listed = Listed(id: state.lastID, operation: operation, cancellation: Cancellation())
                Self.end(listed, failure, &state)
            }
        }
        if let failure { throw failure }
        return true
    }

    /// Moves a job in the list to those that have ended, before its end is reported.
    private func close(_ number: Int, _ failure: Errno?) {
        state.withLock { state in
            if let listed = state.listed.removeValue(forKey: number) { Self.end(listed, failure, &state) }
        }
    }

    private static func end(_ listed: Listed, _ failure: Errno?, _ state: inout State) {
        listed.operation.account.end(failure)
        state.ended.append(listed)
        if state.ended.count > historyLimit { state.ended.removeFirst() }
    }

    // MARK: The list

    /// Lists what the machine moves of its own accord, as long as it does: there is so much of it that what people have
    /// asked for would soon be gone from the list if it stayed.
    ///
    /// - Returns: what ends that.
    func list(_ move: BackgroundMove) -> @Sendable () -> Void {
        let operation = Operation(move)
        let number = state.withLock { state in
            state.next += 1
            state.lastID += 1
            state.listed[state.next] = Listed(
                id: state.lastID, operation: operation, cancellation: Cancellation())
            return state.next
        }
        return { self.state.withLock { _ = $0.listed.removeValue(forKey: number) } }
    }

    /// Whether memory moves.
    var isMoving: Bool { state.withLock { !$0.listed.isEmpty } }

    /// The lines of the jobs that move memory, by their ids: those that run, and the last that have ended.
    var lines: [String] {
        let jobs = state.withLock { state in Array(state.ended) + Array(state.listed.values) }
        return jobs.sorted { $0.id < $1.id }.map { $0.operation.line($0.id) }
    }

    /// Asks a job in the list to end. ESRCH where no job of that id runs.
    func cancel(_ id: Int) throws(Errno) {
        let listed = state.withLock { state in state.listed.values.first { $0.id == id } }
        guard let listed else { throw .noSuchProcess }
        listed.operation.account.cancel()
        listed.cancellation.cancel()
    }

    /// Asks every job to end that was to move a buffer or node.
    func cancel(about subject: AnyObject) {
        let subject = ObjectIdentifier(subject)
        let concerned = state.withLock { state in
            state.listed.values.filter { $0.operation.subject == subject }.map(\.cancellation)
        }
        for cancellation in concerned { cancellation.cancel() }
    }

    // MARK: The end

    /// Cancels what runs and takes nothing more.
    package func close() {
        let running = state.withLock { state in
            state.isClosed = true
            return Array(state.running.values)
        }
        // Outside the lock: who waits for one is answered when it goes.
        _ = state.withLock { state in
            defer { state.shows = [] }
            return state.shows
        }
        for cancellation in running { cancellation.cancel() }
    }

    /// Waits until no job runs; false when one still does after `seconds`.
    package func wait(seconds: Int) -> Bool { group.wait(timeout: .now() + .seconds(seconds)) == .success }
}
