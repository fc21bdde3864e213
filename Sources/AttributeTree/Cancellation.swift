import LinuxSupport
public import SystemPackage

/// A request to end a job early, made when its writer is interrupted. Any thread may make or check it.
public final class Cancellation: Sendable {
    private struct State: Sendable {
        var isCancelled = false
        var nextHandler = 0
        var handlers: [Int: @Sendable () -> Void] = [:]
    }

    private let state = TracedMutex(State())

    /// A cancellation that is not requested yet.
    public init() {}

    /// Whether the job must end.
    public var isCancelled: Bool { state.withLock(\.isCancelled) }

    /// Requests the end of the job, and runs the handlers, each once, on the calling thread.
    public func cancel() {
        let handlers = state.withLock { state in
            state.isCancelled = true
            defer { state.handlers.removeAll() }
            return state.handlers.sorted { $0.key < $1.key }.map(\.value)
        }
        for handler in handlers { handler() }
    }

    /// Throws EINTR after the end of the job is requested.
    public func check() throws(Errno) {
        if isCancelled { throw .interrupted }
    }

    /// Runs `body`. A cancellation before or during it runs `handler`, which must not wait.
    ///
    /// A handler that another thread has started may still run when this returns.
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
