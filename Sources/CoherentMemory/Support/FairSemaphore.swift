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
        guard let waiter = queue() else { return }
        waiter.wait()
        // So that what the last holder did is seen to come before, by the thread sanitizer, too.
        state.withLock { _ in }
    }

    /// How long somebody who waits may not notice that nobody wants the turn any more.
    private static let patience = 10

    /// Waits for a turn, or until `isCancelled`: false then, and there is none to give up.
    func wait(unless isCancelled: () -> Bool) -> Bool {
        guard let waiter = queue() else { return true }
        while waiter.wait(timeout: .now() + .milliseconds(Self.patience)) == .timedOut {
            guard isCancelled() else { continue }
            let isGone = state.withLock { state in
                guard let place = state.waiting.firstIndex(where: { $0 === waiter }) else { return false }
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

    /// Takes a turn that is to be had at once, nil then, or queues for one.
    private func queue() -> DispatchSemaphore? {
        state.withLock { state in
            guard state.held >= state.limit || !state.waiting.isEmpty else {
                state.held += 1
                return nil
            }
            let waiter = DispatchSemaphore(value: 0)
            state.waiting.append(waiter)
            return waiter
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
