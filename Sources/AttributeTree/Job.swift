public import SystemPackage

/// Work that a write to an attribute asked for and that takes too long for the thread that took the write.
///
/// Whoever serves the attributes runs it on another thread and answers the write when it has ended.
public struct Job: Sendable {
    /// What it does, for logs and the name of its thread: `migrate`.
    public let name: String

    /// What else there is to know of it; whoever runs the jobs knows what it is.
    public let details: (any Sendable)?

    /// Whether it ends soon, as far as it depends on what it does itself.
    public let isShort: Bool

    private let attempt: (@Sendable () throws(Errno) -> Bool)?
    private let work: @Sendable (Cancellation) throws(Errno) -> Void

    /// A job; its work watches the cancellation and ends early with EINTR when asked to.
    ///
    /// - Parameter attempt: does the work on the thread that took the write, where it is short and nobody has to be waited
    ///   for; false, with nothing done, where it is otherwise.
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

    /// Does the work at once, on the thread that took the write, where that holds nobody up.
    ///
    /// - Returns: false where it would, or might: then nothing was done, and ``run(_:)`` is to be called on another thread.
    /// - Throws: the errno with which the write is answered.
    public func runAtOnce() throws(Errno) -> Bool { try attempt?() ?? false }

    /// Does the work on the calling thread.
    ///
    /// - Throws: the errno with which the write is answered.
    public func run(_ cancellation: Cancellation) throws(Errno) { try work(cancellation) }
}
