import CoherentMemory
import MachineTopology
import Testing

/// A machine that tools are shown, and what they must say of it.
struct ToolMachine: Sendable, CustomTestStringConvertible {
    let name: String
    let toml: String

    var testDescription: String { name }

    /// What the file says.
    func topology() throws -> Topology { try Topology(toml: toml, file: name) }

    static let all: [ToolMachine] =
        ["default", "two-socket", "dual-device", "large"].map { name in
            ToolMachine(name: name, toml: Topology.presets.first { $0.name == name }!.toml)
        } + [
            ToolMachine(name: "holes", toml: Machines.holes),
            ToolMachine(name: "offline", toml: Machines.make(online: false)),
        ]

    static subscript(_ name: String) -> ToolMachine { all.first { $0.name == name }! }
}

extension Topology {
    /// Bytes that are online at the beginning.
    func online(_ node: NodeDescription) -> UInt64 { node.isOnline ? node.memory : 0 }

    var onlineTotal: UInt64 { nodes.reduce(0) { $0 + online($1) } }

    /// The distances as seen from a node.
    func distances(from node: NodeDescription) -> [Int] { nodes.map { distance(from: node.id, to: $0.id) } }
}

/// Runs a command that sees a mount in place of the host, and expects it to succeed. Its own memory is not among what it sees.
func tool(
    _ mount: TestMount, _ command: String..., sourceLocation: SourceLocation = #_sourceLocation
) throws -> String {
    let outcome = try run([Host.cdmfs, "run", "--no-memory", "--mount", mount.path, "--"] + command)
    try #require(
        outcome.succeeded && outcome.errors.isEmpty, "\(command): \(outcome.ending) \(outcome.errors)",
        sourceLocation: sourceLocation)
    return outcome.output
}

/// The words of every line of a tool's output.
func rows(_ output: String) -> [[String]] {
    output.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace).map(String.init) }
}
