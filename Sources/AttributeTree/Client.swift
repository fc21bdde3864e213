/// The reader or writer of an attribute (Linux's `current`).
public struct Client: Hashable, Sendable {
    /// The thread, by its number for the process that serves the attributes; 0 for none in particular, -1 for one
    /// without a number there.
    public let task: Int32

    /// The user.
    public let user: UInt32

    /// A client.
    public init(task: Int32, user: UInt32) {
        self.task = task
        self.user = user
    }

    /// No client in particular: the process that serves the attributes, for a reason of its own.
    public static let nobody = Client(task: 0, user: 0)
}
