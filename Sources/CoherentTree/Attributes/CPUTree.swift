import AttributeTree
import CoherentMemory
import MachineTopology

/// sys/devices/system/cpu: the CPUs of the nodes, whether the host has them or not, and where they stand.
///
/// The CPUs of a node are the cores of one package: a topology says no more of them.
enum CPUTree {
    static func directory(_ services: TreeServices) -> [Child] {
        [.attributes(CPUListAttributes.table, of: services.machine)]
            + SystemDevice("/devices/system/cpu").children(services)
            + services.machine.nodes.flatMap { node in
                node.cpus.map { cpu in
                    .directory(
                        "cpu\(cpu)",
                        [
                            .link("node\(node.id)", target: "../../node/node\(node.id)"),
                            .directory(
                                "topology",
                                [.attributes(CPUTopologyAttributes.table, of: Processor(cpu, node, services.machine))]),
                        ]
                            + SystemDevice(cpu: cpu).children(services))
                }
            }
    }
}

/// The lists of drivers/base/cpu.c.
enum CPUListAttributes {
    static let table: [Attribute<Machine>] = [
        .readOnly("isolated", summary: "CPUs that the scheduler does not use: none.") { _ in "" },
        .readOnly("kernel_max", summary: "The largest possible CPU number.") { _ in "\(IDSet.maxCPUs - 1)" },
        .readOnly("offline", summary: "Present CPUs that are offline: none.") { _ in "" },
        .readOnly("online", summary: "Online CPUs: those of the nodes.") { "\($0.cpus)" },
        .readOnly("possible", summary: "Possible CPUs.") { "\($0.cpus)" },
        .readOnly("present", summary: "Present CPUs.") { "\($0.cpus)" },
    ]
}

/// A CPU, as its topology/ directory speaks of it.
struct Processor: Sendable {
    let number: Int
    /// Its place among the CPUs of its package.
    let core: Int
    /// The node whose CPUs are the package.
    let node: CoherentMemory.Node
    /// The bits of a mask.
    let width: Int

    init(_ number: Int, _ node: CoherentMemory.Node, _ machine: Machine) {
        self.number = number
        self.node = node
        core = node.cpus.count { $0 < number }
        width = machine.cpuMaskWidth
    }

    var itself: IDSet { [number] }
}

/// cpuN/topology (drivers/base/topology.c): cores without a second thread, one die a package.
enum CPUTopologyAttributes {
    static let table: [Attribute<Processor>] =
        [
            .readOnly("cluster_id", summary: "The cluster of the CPU: none.") { _ in "65535" },
            .readOnly("core_id", summary: "The number of the core in its package.") { "\($0.core)" },
            .readOnly("die_id", summary: "The number of the die in its package.") { _ in "0" },
            .readOnly("physical_package_id", summary: "The number of the package: the node's.") {
                "\($0.node.id)"
            },
        ]
        + sets(["cluster_cpus", "core_cpus", "thread_siblings"], "the CPUs of the same core", \.itself)
        + sets(["core_siblings", "die_cpus", "package_cpus"], "the CPUs of the same package", \.node.cpus)

    /// Each as a mask and as a list.
    private static func sets(
        _ names: [String], _ summary: String, _ cpus: @escaping @Sendable (Processor) -> IDSet
    ) -> [Attribute<Processor>] {
        names.flatMap { name -> [Attribute<Processor>] in
            [
                .readOnly(name, summary: "A mask of \(summary).") { cpus($0).map(width: $0.width) },
                .readOnly(name + "_list", summary: "A list of \(summary).") { "\(cpus($0))" },
            ]
        }
    }
}

extension Machine {
    /// The width of a CPU mask (nr_cpu_ids).
    var cpuMaskWidth: Int { max(cpus.max() ?? 0, IDSet.onlineCPUs.max() ?? 0) + 1 }
}
