import AttributeTree
import CoherentMemory
import MachineTopology

/// nodeN/access0 and access1: which nodes reach which memory best, and how fast (node_init_node_access(), what HMAT
/// tells Linux).
enum AccessTree {
    /// The directories of a node that has memory or initiators; nothing of one that has neither, until memory is added to it.
    static func children(of node: CoherentMemory.Node, _ access: NodeAccess, _ services: TreeServices) -> [Child] {
        let machine = services.machine
        let names: @Sendable () -> [String] = {
            node.isInitiator(.any) || machine.hasBlocks(node) ? AccessClass.allCases.map(\.rawValue) : []
        }
        return [
            .lasting(
                .directory, list: names,
                lookup: { name in
                    guard names().contains(name), let accessClass = AccessClass(rawValue: name) else { return nil }
                    let speed = MemorySpeed(node, accessClass, machine)
                    var initiators = [
                        links(machine) {
                            machine.hasBlocks(node) ? access.initiators[accessClass]?[node.id] ?? [] : []
                        }
                    ]
                    initiators.append(figures(of: speed) { machine.hasBlocks(node) })
                    let targets = links(machine) {
                        (access.targets[accessClass]?[node.id] ?? []).filter { machine.hasBlocks($0) }
                    }
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

/// Which initiators count (enum access_coordinate_class).
enum AccessClass: String, CaseIterable {
    /// CPUs, and devices that are initiators.
    case any = "access0"
    /// CPUs alone.
    case cpus = "access1"
}

extension CoherentMemory.Node {
    /// Whether accesses come from the node.
    fileprivate func isInitiator(_ accessClass: AccessClass) -> Bool {
        !cpus.isEmpty || accessClass == .any && initiator != nil
    }
}

/// Who reaches whose memory best, by the numbers of the nodes, whether they have any at the moment or not.
struct NodeAccess {
    private(set) var initiators: [AccessClass: [Int: [CoherentMemory.Node]]] = [:]
    private(set) var targets: [AccessClass: [Int: [CoherentMemory.Node]]] = [:]

    init(_ machine: Machine) {
        for accessClass in AccessClass.allCases {
            for target in machine.nodes {
                let best = machine.initiators(of: target, accessClass)
                initiators[accessClass, default: [:]][target.id] = best
                for node in best { targets[accessClass, default: [:]][node.id, default: []].append(target) }
            }
        }
    }
}

/// How fast the best initiators reach a node's memory: the device itself, or the nearest CPUs, over the link of its device as it is at
/// the moment, or as the topology says.
struct MemorySpeed: Sendable {
    private let device: Device?
    private let given: Link

    init(_ node: CoherentMemory.Node, _ accessClass: AccessClass, _ machine: Machine) {
        let best = machine.initiators(of: node, accessClass).first
        if let best, best.cpus.isEmpty {
            device = nil
            given =
                best === node
                ? node.initiator ?? Link(distance: 10)
                : Link(distance: machine.topology.distance(from: best.id, to: node.id))
        } else {
            device = machine.devices.first { $0.node === node }
            given = machine.topology.node(node.id)?.link ?? Link()
        }
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
    /// The nodes whose initiators reach a node's memory best: itself, or the nearest ones, those with CPUs first.
    func initiators(of target: CoherentMemory.Node, _ accessClass: AccessClass = .cpus) -> [CoherentMemory.Node] {
        guard let place = nodes.firstIndex(where: { $0 === target }) else { return [] }
        if target.isInitiator(accessClass) { return [target] }
        let candidates = nodes.filter { $0.isInitiator(accessClass) }
        let nearest = candidates.map { $0.distances[place] }.min()
        let best = candidates.filter { $0.distances[place] == nearest }
        return best.filter { !$0.cpus.isEmpty } + best.filter(\.cpus.isEmpty)
    }
}
