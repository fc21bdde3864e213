/// Who reads or writes an attribute (Linux's `current`).
public struct Client: Hashable, Sendable {
    /// The thread, by the number that it has for who serves the attributes; 0 for nobody in particular, -1 for one without a
    /// number there.
    public let task: Int32

    /// The user.
    public let user: UInt32

    /// A client.
    public init(task: Int32, user: UInt32) {
        self.task = task
        self.user = user
    }

    /// Nobody in particular: who serves the attributes, for a reason of its own.
    public static let nobody = Client(task: 0, user: 0)
}
