import Dispatch
import LinuxSupport

/// A number of turns, which go round among the users who wait, and among those of one user in the order in which they came.
///
/// A mutex goes to the fastest thread, which is the one that has just given it up: a thread that takes a turn after the other would
/// keep out one that wants a single turn. And with one queue for all, one user's many would be in front of another's first.
final class FairSemaphore: Sendable {
    private struct Waiter {
        let user: UInt32
        let semaphore = DispatchSemaphore(value: 0)
    }

    private struct State {
        var limit: Int
        var held = 0
        /// In the order in which they came.
        var waiting: [Waiter] = []
        /// The user who was given the last turn that had a wait before it.
        var last: UInt32 = 0

        /// Takes out who is next: the first of the next user, by their numbers, after the last one.
        mutating func next() -> Waiter? {
            guard let place = waiting.indices.min(by: { distance(waiting[$0].user) < distance(waiting[$1].user) })
            else {
                return nil
            }
            last = waiting[place].user
            return waiting.remove(at: place)
        }

        private func distance(_ user: UInt32) -> UInt32 { user &- last &- 1 }
    }

    private let state: Mutex<State>

    /// - Parameter limit: how many hold a turn at once, at least 1.
    init(limit: Int = 1) { state = Mutex(State(limit: limit)) }

    /// How many hold a turn at once. With fewer than hold one now, there is no other until as many have ended.
    var limit: Int {
        get { state.withLock { $0.limit } }
        set {
            let next = state.withLock { state in
                state.limit = newValue
                return Self.admit(&state)
            }
            for waiter in next { waiter.signal() }
        }
    }

    /// How many hold a turn, and how many wait for one.
    var usage: (held: Int, waiting: Int) { state.withLock { ($0.held, $0.waiting.count) } }

    func wait() {
        guard let waiter = queue(for: 0) else { return }
        waiter.wait()
        // So that what the last holder did is seen to come before, by the thread sanitizer, too.
        state.withLock { _ in }
    }

    /// How long a wait may last after the turn is wanted no more.
    private static let pollInterval = 10

    /// Waits for a turn, or until `isCancelled`: false then, and there is none to give up.
    ///
    /// - Parameter user: for whom.
    func wait(for user: UInt32 = 0, unless isCancelled: () -> Bool) -> Bool {
        guard let waiter = queue(for: user) else { return true }
        while waiter.wait(timeout: .now() + .milliseconds(Self.pollInterval)) == .timedOut {
            guard isCancelled() else { continue }
            let isGone = state.withLock { state in
                guard let place = state.waiting.firstIndex(where: { $0.semaphore === waiter }) else { return false }
                state.waiting.remove(at: place)
                return true
            }
            if isGone { return false }
            // The turn came at the same moment.
        }
        state.withLock { _ in }
        return true
    }

    /// Takes a turn if one is to be had at once.
    func tryWait() -> Bool {
        state.withLock { state in
            guard state.held < state.limit, state.waiting.isEmpty else { return false }
            state.held += 1
            return true
        }
    }

    /// Whether another user than one waits for a turn.
    func isWantedByOthers(than user: UInt32) -> Bool {
        state.withLock { state in state.waiting.contains { $0.user != user } }
    }

    /// Takes a turn that is to be had at once, nil then, or queues for one.
    private func queue(for user: UInt32) -> DispatchSemaphore? {
        state.withLock { state in
            guard state.held >= state.limit || !state.waiting.isEmpty else {
                state.held += 1
                return nil
            }
            let waiter = Waiter(user: user)
            state.waiting.append(waiter)
            return waiter.semaphore
        }
    }

    func signal() {
        let next = state.withLock { state in
            state.held -= 1
            return Self.admit(&state)
        }
        for waiter in next { waiter.signal() }
    }

    private static func admit(_ state: inout State) -> [DispatchSemaphore] {
        var admitted: [DispatchSemaphore] = []
        while state.held < state.limit, let waiter = state.next() {
            state.held += 1
            admitted.append(waiter.semaphore)
        }
        return admitted
    }

    /// Calls `body` in a turn; never recursively.
    func withLock<Result, Failure: Error>(_ body: (()) throws(Failure) -> Result) throws(Failure) -> Result {
        wait()
        defer { signal() }
        return try body(())
    }
}
