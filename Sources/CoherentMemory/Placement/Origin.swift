/// Who touches a page.
public struct Origin: Sendable, Hashable {
    /// The thread that made the request; 0 where the kernel acts by itself (write-back).
    public var pid: Int32
    /// The id of the node whose CPU it runs on.
    public var node: Int
    /// Whether a device makes it, at the behest of that thread; then `node` is the device's own.
    public var isDevice: Bool
    /// Whether it may use restricted nodes, by their places, as far as that was asked ahead; see
    /// ``Machine/resolvingAccess(_:for:pages:)``.
    var access: [Int: Bool] = [:]

    /// A touch by thread `pid` running on node `node`, or by the device of that node.
    public init(pid: Int32, node: Int, isDevice: Bool = false) {
        self.pid = pid
        self.node = node
        self.isDevice = isDevice
    }
}
