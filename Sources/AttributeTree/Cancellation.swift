import LinuxSupport
public import SystemPackage

/// A request to end a job early, made when its writer is interrupted. Any thread may make it, any may look.
public final class Cancellation: Sendable {
    private struct State: Sendable {
        var isCancelled = false
        var nextHandler = 0
        var handlers: [Int: @Sendable () -> Void] = [:]
    }

    private let state = TracedMutex(State())

    /// A cancellation that nobody has asked for yet.
    public init() {}

    /// Whether the job is to end.
    public var isCancelled: Bool { state.withLock(\.isCancelled) }

    /// Asks the job to end, and runs the handlers, each once, on the calling thread.
    public func cancel() {
        let handlers = state.withLock { state in
            state.isCancelled = true
            defer { state.handlers.removeAll() }
            return state.handlers.sorted { $0.key < $1.key }.map(\.value)
        }
        for handler in handlers { handler() }
    }

    /// Throws EINTR once the job is to end.
    public func check() throws(Errno) {
        if isCancelled { throw .interrupted }
    }

    /// Runs `body`; a cancellation meanwhile, or before, runs `handler`, which must not wait.
    ///
    /// A handler that another thread has begun may still be running when this returns.
    public func withHandler<Result>(
        _ handler: @escaping @Sendable () -> Void, _ body: () throws(Errno) -> Result
    ) throws(Errno) -> Result {
        let id: Int? = state.withLock { state in
            if state.isCancelled { return nil }
            state.nextHandler += 1
            state.handlers[state.nextHandler] = handler
            return state.nextHandler
        }
        guard let id else {
            handler()
            return try body()
        }
        defer { state.withLock { _ = $0.handlers.removeValue(forKey: id) } }
        return try body()
    }
}
