/// Who touches a page.
public struct Origin: Sendable, Hashable {
    /// The thread that made the request; 0 where the kernel acts by itself (write-back).
    public var pid: Int32
    /// The id of the node whose CPU it runs on.
    public var node: Int
    /// Whether it may use restricted nodes, by their places, as far as that was asked ahead; see
    /// ``Machine/asked(_:for:pages:)``.
    var access: [Int: Bool] = [:]

    /// A touch by thread `pid` running on node `node`.
    public init(pid: Int32, node: Int) {
        self.pid = pid
        self.node = node
    }
}
