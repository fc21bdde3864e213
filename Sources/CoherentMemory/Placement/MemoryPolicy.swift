import MachineTopology

/// Where pages shall be allocated (struct mempolicy): of a buffer, or of a task.
///
/// Written as in /proc/PID/numa_maps and parsed as tmpfs's `mpol=` option is (mpol_parse_str() in mm/mempolicy.c).
public struct MemoryPolicy: Sendable, Hashable {
    /// The kind of a policy.
    public enum Mode: String, Sendable, Hashable, CaseIterable {
        /// No policy: that of the task is used, and where it has none, the node of the CPU that touches the page, then
        /// the others by distance.
        case `default`
        /// The node given, then the others by distance (MPOL_PREFERRED).
        case prefer
        /// The nearest of the nodes given, and no other (MPOL_BIND).
        case bind
        /// The nodes given in turn, by page offset (MPOL_INTERLEAVE).
        case interleave
        /// The nodes given in turn, each for as many pages as its weight says (MPOL_WEIGHTED_INTERLEAVE).
        case weightedInterleave = "weighted interleave"
        /// The node of the CPU that touches the page, whatever the policy of the task (MPOL_LOCAL).
        case local
        /// The nearest of the nodes given, then the others by distance (MPOL_PREFERRED_MANY).
        case preferMany = "prefer (many)"
    }

    /// How the nodes of a policy follow the nodes that the task may use.
    public enum NodeFlag: String, Sendable, Hashable, CaseIterable {
        /// Those of the nodes that are allowed (MPOL_F_STATIC_NODES).
        case `static`
        /// Counted within the nodes that are allowed: `0` is the first of them (MPOL_F_RELATIVE_NODES).
        case relative
    }

    /// The kind of the policy.
    public let mode: Mode
    /// The nodes it names; empty for ``Mode/default`` and ``Mode/local``, exactly one for ``Mode/prefer``.
    public let nodes: IDSet
    /// What the nodes mean, where the policy says it.
    public let flag: NodeFlag?

    /// The policy of a buffer, or a task, that was given none.
    public static let `default` = MemoryPolicy(mode: .default, nodes: IDSet(), flag: nil)

    /// Exactly this node.
    public static func bind(_ node: Int) -> MemoryPolicy {
        MemoryPolicy(mode: .bind, nodes: IDSet(node..<node + 1), flag: nil)
    }

    init(mode: Mode, nodes: IDSet, flag: NodeFlag?) {
        self.mode = mode
        self.nodes = nodes
        self.flag = flag
    }
}
