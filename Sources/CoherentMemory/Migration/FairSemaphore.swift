import Dispatch

/// A number of turns, which go to those who wait in the order in which they came.
///
/// A mutex goes to whoever is fastest, which is the one who has just given it up: who takes a turn after the other would
/// keep out who wants but one.
final class FairSemaphore: Sendable {
    private struct State {
        var limit: Int
        var held = 0
        var waiting: [DispatchSemaphore] = []
    }

    private let state: Mutex<State>

    /// - Parameter limit: how many hold a turn at once, at least 1.
    init(limit: Int = 1) { state = Mutex(State(limit: limit)) }

    /// How many hold a turn at once. With fewer than hold one now, nobody gets another until as many have ended.
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
        let waiter = state.withLock { state -> DispatchSemaphore? in
            guard state.held >= state.limit || !state.waiting.isEmpty else {
                state.held += 1
                return nil
            }
            let waiter = DispatchSemaphore(value: 0)
            state.waiting.append(waiter)
            return waiter
        }
        guard let waiter else { return }
        waiter.wait()
        // So that what the last holder did is seen to come before, by the thread sanitizer, too.
        state.withLock { _ in }
    }

    func signal() {
        let next = state.withLock { state in
            state.held -= 1
            return Self.admit(&state)
        }
        for waiter in next { waiter.signal() }
    }

    private static func admit(_ state: inout State) -> [DispatchSemaphore] {
        let count = max(0, min(state.limit - state.held, state.waiting.count))
        state.held += count
        defer { state.waiting.removeFirst(count) }
        return Array(state.waiting.prefix(count))
    }

    /// Calls `body` in a turn; never recursively.
    func withLock<Result, Failure: Error>(_ body: (()) throws(Failure) -> Result) throws(Failure) -> Result {
        wait()
        defer { signal() }
        return try body(())
    }
}
