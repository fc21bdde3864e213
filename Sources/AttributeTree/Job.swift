public import SystemPackage

/// Work that a write to an attribute asked for and that takes too long for the thread that took the write.
///
/// Whoever serves the attributes runs it on another thread and answers the write when it has ended.
public struct Job: Sendable {
    /// What it does, for logs and the name of its thread: `migrate`.
    public let name: String

    /// What else there is to know of it; whoever runs the jobs knows what it is.
    public let details: (any Sendable)?

    private let work: @Sendable (Cancellation) throws(Errno) -> Void

    /// A job; its work watches the cancellation and ends early with EINTR when asked to.
    public init(
        _ name: String, details: (any Sendable)? = nil,
        _ work: @escaping @Sendable (Cancellation) throws(Errno) -> Void
    ) {
        self.name = name
        self.details = details
        self.work = work
    }

    /// Does the work on the calling thread.
    ///
    /// - Throws: the errno with which the write is answered.
    public func run(_ cancellation: Cancellation) throws(Errno) { try work(cancellation) }
}
