public import MachineTopology

/// In what a replay differs from its record.
public struct ReplayOptions: Sendable, Hashable {
    /// The policy of all buffers, ranges and tasks, in the words of numa_maps; nil for what was recorded.
    public var policy: String?
    /// The isolation of all coherent nodes; nil for what was recorded.
    public var isolation: Isolation?
    /// Whether reclaim moves pages to slower tiers; nil for what was recorded.
    public var demotion: Bool?
    /// The mode of automatic NUMA balancing, 0 to 3; nil for what was recorded.
    public var balancing: UInt8?

    /// Those of the record, as far as nothing else is said.
    public init(policy: String? = nil, isolation: Isolation? = nil, demotion: Bool? = nil, balancing: UInt8? = nil) {
        self.policy = policy
        self.isolation = isolation
        self.demotion = demotion
        self.balancing = balancing
    }

    /// A name for the column of a table.
    public var name: String {
        let words = [
            policy, isolation.map { "isolation \($0.rawValue)" }, demotion.map { "demotion \($0 ? "on" : "off")" },
            balancing.map { "balancing \($0)" },
        ]
        let name = words.compactMap { $0 }.joined(separator: ", ")
        return name.isEmpty ? "replayed" : name
    }
}

/// Why there is no replay.
public enum ReplayError: Error, Sendable, Hashable {
    /// The trace has no topology, and none was given.
    case noTopology
    /// A policy that is none, or names nodes that the machine does not have.
    case policy(String)
    /// Nodes that the trace names and the topology does not have.
    case missingNodes(IDSet)
    /// The host refuses the memory of a machine.
    case memory
}

extension ReplayError: CustomStringConvertible {
    /// The reason in words.
    public var description: String {
        switch self {
        case .noTopology: "the trace has no topology; name one with --topology"
        case .policy(let text): "policy \"\(text)\": expected one in the words of numa_maps, of nodes with memory"
        case .missingNodes(let nodes): "the trace has pages on nodes that the topology does not have: \(nodes)"
        case .memory: "the host refuses the memory of the machine"
        }
    }
}
