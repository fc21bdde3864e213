import AttributeTree
import CoherentMemory
import MachineTopology

/// nodeN/access0 and access1: which nodes reach which memory best, and how fast (node_init_node_access(), what HMAT
/// tells Linux).
enum AccessTree {
    /// The directory of a node that has memory or CPUs; nothing of one that has neither, until memory is added to it.
    static func children(of node: CoherentMemory.Node, _ access: NodeAccess, _ services: TreeServices) -> [Child] {
        let machine = services.machine
        let speed = MemorySpeed(node, machine)
        // Class 1 counts CPUs only among the initiators; here there are no others.
        let names: @Sendable () -> [String] = {
            !node.cpus.isEmpty || machine.hasBlocks(node) ? ["access0", "access1"] : []
        }
        return [
            .lasting(
                .directory, list: names,
                lookup: { name in
                    guard names().contains(name) else { return nil }
                    var initiators = [
                        links(machine) { machine.hasBlocks(node) ? access.initiators[node.id] ?? [] : [] }
                    ]
                    initiators.append(figures(of: speed) { machine.hasBlocks(node) })
                    let targets = links(machine) { (access.targets[node.id] ?? []).filter { machine.hasBlocks($0) } }
                    return .directory(
                        Directory(
                            [.directory("initiators", initiators), .directory("targets", [targets])]
                                + SystemDevice("\(SystemDevice(node: node).path)/\(name)", isPowerManaged: false)
                                .children(services)))
                })
        ]
    }

    /// The figures, which a node has while it has memory.
    private static func figures(of speed: MemorySpeed, while hasMemory: @escaping @Sendable () -> Bool) -> Child {
        let table = AccessAttributes.table
        return .lasting(
            .file, list: { hasMemory() ? table.map(\.name) : [] },
            lookup: { name in
                guard hasMemory() else { return nil }
                return table.first { $0.name == name }.map { .attribute($0.bound(to: speed)) }
            })
    }

    private static func links(
        _ machine: Machine, to nodes: @escaping @Sendable () -> [CoherentMemory.Node]
    ) -> Child {
        .mortal(
            .link, list: { nodes().filter(\.isPresent).map { "node\($0.id)" } },
            lookup: { name in
                guard let node = machine.node(named: name), let lifetime = node.lifetime,
                    nodes().contains(where: { $0 === node })
                else {
                    return nil
                }
                return (.link("../../../\(name)"), lifetime)
            })
    }
}

/// Who reaches whose memory best, by the numbers of the nodes, whether they have any at the moment or not.
struct NodeAccess {
    private(set) var initiators: [Int: [CoherentMemory.Node]] = [:]
    private(set) var targets: [Int: [CoherentMemory.Node]] = [:]

    init(_ machine: Machine) {
        for target in machine.nodes {
            initiators[target.id] = machine.initiators(of: target)
            for node in initiators[target.id] ?? [] { targets[node.id, default: []].append(target) }
        }
    }
}

/// How fast the nearest CPUs reach a node's memory: over the link of its device, as it is at the moment, or as the topology
/// says.
struct MemorySpeed: Sendable {
    private let device: Device?
    private let given: Link

    init(_ node: CoherentMemory.Node, _ machine: Machine) {
        device = machine.devices.first { $0.node === node }
        given = machine.topology.node(node.id)?.link ?? Link()
    }

    var link: Link { device?.link ?? given }
}

/// nodeN/accessN/initiators.
enum AccessAttributes {
    static let table: [Attribute<MemorySpeed>] = [
        .readOnly("read_bandwidth", summary: "Read bandwidth of the best initiators in MB/s.") {
            "\($0.link.readBandwidth)"
        },
        .readOnly("read_latency", summary: "Read latency of the best initiators in ns.") {
            "\($0.link.readLatency)"
        },
        .readOnly("write_bandwidth", summary: "Write bandwidth of the best initiators in MB/s.") {
            "\($0.link.writeBandwidth)"
        },
        .readOnly("write_latency", summary: "Write latency of the best initiators in ns.") {
            "\($0.link.writeLatency)"
        },
    ]
}

extension Machine {
    /// The nodes whose CPUs reach a node's memory best: itself, or the nearest ones.
    func initiators(of target: CoherentMemory.Node) -> [CoherentMemory.Node] {
        guard let place = nodes.firstIndex(where: { $0 === target }) else { return [] }
        if !target.cpus.isEmpty { return [target] }
        let candidates = nodes.filter { !$0.cpus.isEmpty }
        let nearest = candidates.map { $0.distances[place] }.min()
        return candidates.filter { $0.distances[place] == nearest }
    }
}
