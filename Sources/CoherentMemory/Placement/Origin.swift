/// The toucher of a page.
public struct Origin: Sendable, Hashable {
    /// The thread that made the request; 0 if the kernel itself did (write-back).
    public var pid: Int32
    /// The id of the node whose CPU the thread runs on.
    public var node: Int
    /// Whether a device touches the page on behalf of that thread; then `node` is the device's own.
    public var isDevice: Bool
    /// Whether it may use restricted nodes, by their places, as far as that was asked ahead; see
    /// ``Memory/resolvingAccess(_:for:pages:)``.
    var access: [Int: Bool] = [:]

    /// A touch by thread `pid` running on node `node`, or by the device of that node.
    public init(pid: Int32, node: Int, isDevice: Bool = false) {
        self.pid = pid
        self.node = node
        self.isDevice = isDevice
    }
}
