import SystemPackage

/// Where the pages of a buffer shall be allocated (struct mempolicy).
///
/// Written as in /proc/PID/numa_maps and parsed as tmpfs's `mpol=` option is (mpol_parse_str in mm/mempolicy.c).
public struct MemoryPolicy: Sendable, Hashable {
    /// The kind of a policy.
    public enum Mode: String, Sendable, Hashable, CaseIterable {
        /// The node of the CPU that touches the page, then the others by distance.
        case `default`
        /// The nearest of the nodes given, and no other (MPOL_BIND).
        case bind
        /// The node given, then the others by distance (MPOL_PREFERRED).
        case prefer
        /// The nodes given in turn, by page offset (MPOL_INTERLEAVE).
        case interleave
    }

    /// The kind of the policy.
    public let mode: Mode
    /// The nodes it names; empty for ``Mode/default``, exactly one for ``Mode/prefer``.
    public let nodes: IDSet

    /// The policy of a buffer that was given none.
    public static let `default` = MemoryPolicy(mode: .default, nodes: IDSet())

    /// Exactly this node.
    public static func bind(_ node: Int) -> MemoryPolicy { MemoryPolicy(mode: .bind, nodes: IDSet(node..<node + 1)) }

    private init(mode: Mode, nodes: IDSet) {
        self.mode = mode
        self.nodes = nodes
    }

    /// Reads `MODE[:NODES]`.
    ///
    /// - Parameter available: the nodes that have memory; all that are named must be among them, and `interleave`
    ///   without nodes means all of them.
    /// - Throws: EINVAL for an unknown word, a bad list, a node without memory, or a list that does not suit the mode.
    public init(parsing text: String, available: @autoclosure () -> IDSet) throws(Errno) {
        let parts = text.utf8.split(separator: UInt8(ascii: ":"), maxSplits: 1, omittingEmptySubsequences: false).map {
            Substring($0)
        }
        guard let word = parts.first, let mode = Mode(rawValue: String(word)) else { throw .invalidArgument }
        var nodes = IDSet()
        if parts.count == 2 {
            // One plain number, as Linux has it: neither `1-1` nor `N`.
            guard mode != .prefer || parts[1].utf8.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains) else {
                throw .invalidArgument
            }
            guard let list = try? IDSet(list: parts[1]) else { throw .invalidArgument }
            nodes = list
            guard !nodes.isEmpty, nodes.isSubset(of: available()) else { throw .invalidArgument }
        } else if mode == .interleave {
            nodes = available()
        }
        let isValid =
            switch mode {
            case .default: nodes.isEmpty
            case .prefer: nodes.count == 1
            case .bind, .interleave: !nodes.isEmpty
            }
        guard isValid else { throw .invalidArgument }
        self.init(mode: mode, nodes: nodes)
    }
}

extension MemoryPolicy: CustomStringConvertible {
    /// The policy in the words of numa_maps: `default`, `bind:1`, `interleave:0-1`.
    public var description: String { nodes.isEmpty ? mode.rawValue : "\(mode.rawValue):\(nodes)" }
}

/// A policy made ready for the fault path: no ids, no heap.
struct EffectivePolicy: Sendable {
    var mode: MemoryPolicy.Mode
    var nodes: NodeMask
}

/// Who touches a page.
public struct Origin: Sendable, Hashable {
    /// The thread that made the request; 0 where the kernel acts by itself (write-back).
    public var pid: Int32
    /// The id of the node whose CPU it runs on.
    public var node: Int

    /// A touch by thread `pid` running on node `node`.
    public init(pid: Int32, node: Int) {
        self.pid = pid
        self.node = node
    }
}
