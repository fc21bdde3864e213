import AttributeTree
import CoherentMemory

/// nodeN/access0 and access1: which nodes reach which memory best, and how fast (node_init_node_access(), what HMAT
/// tells Linux).
enum AccessTree {
    /// The directory of a node that has memory or CPUs; nothing of one that has neither.
    static func children(of node: CoherentMemory.Node, _ access: Access, _ services: Services) -> [Child] {
        let initiators = access.initiators[node.id] ?? []
        let targets = access.targets[node.id] ?? []
        guard !initiators.isEmpty || !node.cpus.isEmpty else { return [] }
        var performance: [Child] = initiators.map(link)
        // Only of a device's memory the topology says how fast it is.
        if let figures = services.machine.topology.node(node.id)?.link {
            performance.append(.attributes(AccessAttributes.table, of: figures))
        }
        // Class 1 counts CPUs only among the initiators; here there are no others.
        return ["access0", "access1"].map { name in
            .directory(
                name,
                [.directory("initiators", performance), .directory("targets", targets.map(link))]
                    + SystemDevice("\(SystemDevice(node: node).path)/\(name)", isPowerManaged: false)
                    .children(services))
        }
    }

    private static func link(to node: CoherentMemory.Node) -> Child {
        .link("node\(node.id)", target: "../../../node\(node.id)")
    }
}

/// Who reaches whose memory best, by the numbers of the nodes.
struct Access {
    private(set) var initiators: [Int: [CoherentMemory.Node]] = [:]
    private(set) var targets: [Int: [CoherentMemory.Node]] = [:]

    init(_ machine: Machine) {
        for target in machine.nodes {
            initiators[target.id] = machine.initiators(of: target)
            for node in initiators[target.id] ?? [] { targets[node.id, default: []].append(target) }
        }
    }
}

/// nodeN/accessN/initiators.
enum AccessAttributes {
    static let table: [Attribute<Link>] = [
        .readOnly("read_bandwidth", summary: "MB/s that the best initiators read.") { "\($0.readBandwidth)" },
        .readOnly("read_latency", summary: "Nanoseconds a read of the best initiators takes.") { "\($0.readLatency)" },
        .readOnly("write_bandwidth", summary: "MB/s that the best initiators write.") { "\($0.writeBandwidth)" },
        .readOnly("write_latency", summary: "Nanoseconds a write of the best initiators takes.") {
            "\($0.writeLatency)"
        },
    ]
}

extension Machine {
    /// The nodes whose CPUs reach a node's memory best: itself, or the nearest ones. None where there is no memory.
    func initiators(of target: CoherentMemory.Node) -> [CoherentMemory.Node] {
        guard !blockNumbers(of: target).isEmpty, let place = nodes.firstIndex(where: { $0 === target }) else {
            return []
        }
        if !target.cpus.isEmpty { return [target] }
        let candidates = nodes.filter { !$0.cpus.isEmpty }
        let nearest = candidates.map { $0.distances[place] }.min()
        return candidates.filter { $0.distances[place] == nearest }
    }
}
