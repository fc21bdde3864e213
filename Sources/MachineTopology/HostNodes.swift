import CLinux

extension IDSet {
    /// The nodes of the host whose memory this process may use (MPOL_F_MEMS_ALLOWED of get_mempolicy(2)); node 0 if the host
    /// has no NUMA.
    public static let hostNodes: IDSet = {
        let width = UInt.bitWidth
        var words = [UInt](repeating: 0, count: maxNodes / width)
        guard unsafe clinux_allowed_nodes(&words, UInt(maxNodes)) == 0 else { return [0] }
        return IDSet((0..<maxNodes).lazy.filter { words[$0 / width] >> UInt($0 % width) & 1 == 1 })
    }()
}
