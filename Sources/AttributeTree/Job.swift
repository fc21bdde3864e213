public import SystemPackage

/// Work of a write to an attribute that takes too long for the thread that took the write.
///
/// The caller runs it on another thread and answers the write when it has ended.
public struct Job: Sendable {
    /// What it does, for logs and the name of its thread: `migrate`.
    public let name: String

    /// Further details, of a type that the runner of the jobs defines.
    public let details: (any Sendable)?

    /// Whether it ends soon, as far as it depends on its own work.
    public let isShort: Bool

    private let attempt: (@Sendable () throws(Errno) -> Bool)?
    private let work: @Sendable (Cancellation) throws(Errno) -> Void

    /// A job; its work checks the cancellation and ends early with EINTR.
    ///
    /// - Parameters:
    ///   - name: what it does, for logs and the name of its thread.
    ///   - details: further details for the runner of the jobs.
    ///   - isShort: whether it ends soon.
    ///   - attempt: does the work on the thread that took the write, if it is short and needs no waiting; otherwise
    ///     returns false and does nothing.
    ///   - work: does the work, on another thread.
    public init(
        _ name: String, details: (any Sendable)? = nil, isShort: Bool = false,
        attempt: (@Sendable () throws(Errno) -> Bool)? = nil,
        _ work: @escaping @Sendable (Cancellation) throws(Errno) -> Void
    ) {
        self.name = name
        self.details = details
        self.isShort = isShort
        self.attempt = attempt
        self.work = work
    }

    /// Does the work at once, on the thread that took the write, if it needs no waiting.
    ///
    /// - Returns: false if it needs or may need waiting: nothing is done, and ``run(_:)`` must be called on another
    ///   thread.
    /// - Throws: the errno of the answer to the write.
    public func runAtOnce() throws(Errno) -> Bool { try attempt?() ?? false }

    /// Does the work on the calling thread.
    ///
    /// - Throws: the errno of the answer to the write.
    public func run(_ cancellation: Cancellation) throws(Errno) { try work(cancellation) }
}
