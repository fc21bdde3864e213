import MachineTopology

/// The nodes on which pages of a buffer or of a task are allocated (struct mempolicy).
///
/// Written as in /proc/PID/numa_maps and parsed as tmpfs's `mpol=` option is (mpol_parse_str() in mm/mempolicy.c).
public struct MemoryPolicy: Sendable, Hashable {
    /// The kind of a policy.
    public enum Mode: String, Sendable, Hashable, CaseIterable {
        /// No policy: the task's policy applies; if it has none, the node of the CPU that touches the page, then the
        /// others by distance.
        case `default`
        /// The given node, then the others by distance (MPOL_PREFERRED).
        case prefer
        /// The nearest of the given nodes, and no other (MPOL_BIND).
        case bind
        /// The given nodes in turn, by page offset (MPOL_INTERLEAVE).
        case interleave
        /// The given nodes in turn, each for as many pages as its weight (MPOL_WEIGHTED_INTERLEAVE).
        case weightedInterleave = "weighted interleave"
        /// The node of the CPU that touches the page, regardless of the policy of the task (MPOL_LOCAL).
        case local
        /// The nearest of the given nodes, then the others by distance (MPOL_PREFERRED_MANY).
        case preferMany = "prefer (many)"
    }

    /// How the nodes of a policy follow the nodes that the task may use.
    public enum NodeFlag: String, Sendable, Hashable, CaseIterable {
        /// Those of the nodes that are allowed (MPOL_F_STATIC_NODES).
        case `static`
        /// Positions among the allowed nodes: `0` is the first of them (MPOL_F_RELATIVE_NODES).
        case relative
    }

    /// The kind of the policy.
    public let mode: Mode
    /// The named nodes; empty for ``Mode/default`` and ``Mode/local``, exactly one for ``Mode/prefer``.
    public let nodes: IDSet
    /// The meaning of the nodes, if the policy has a flag.
    let flag: NodeFlag?

    /// Whether automatic balancing may move pages among the nodes (MPOL_F_NUMA_BALANCING), as a program has set it.
    let isBalanced: Bool
    /// The node from which ``Mode/bind`` and ``Mode/preferMany`` look for the nearest one (set_mempolicy_home_node(2)); nil for the
    /// node of the CPU that touches a page.
    public let home: Int?

    /// The policy of a buffer or task without one of its own.
    public static let `default` = MemoryPolicy(mode: .default, nodes: IDSet(), flag: nil)

    /// A policy bound to exactly this node.
    public static func bind(_ node: Int) -> MemoryPolicy {
        MemoryPolicy(mode: .bind, nodes: IDSet(node..<node + 1), flag: nil)
    }

    init(mode: Mode, nodes: IDSet, flag: NodeFlag?, isBalanced: Bool = false, home: Int? = nil) {
        self.mode = mode
        self.nodes = nodes
        self.flag = flag
        self.isBalanced = isBalanced
        self.home = home
    }
}
