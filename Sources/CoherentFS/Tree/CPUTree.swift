import AttributeTree
import CoherentMemory

/// sys/devices/system/cpu: the CPUs of the nodes, as far as their place is concerned. What a CPU is and does remains
/// the host's to tell.
enum CPUTree {
    static func directory(_ services: Services) -> [Child] {
        [.attributes(CPUListAttributes.table, of: services.machine)]
            + SystemDevice("/devices/system/cpu").children(services)
            + services.machine.nodes.flatMap { node in
                node.cpus.map { cpu in
                    .directory(
                        "cpu\(cpu)",
                        [.link("node\(node.id)", target: "../../node/node\(node.id)")]
                            + SystemDevice(cpu: cpu).children(services))
                }
            }
    }
}

/// The lists of drivers/base/cpu.c.
enum CPUListAttributes {
    static let table: [Attribute<Machine>] = [
        .readOnly("kernel_max", summary: "The largest number that a CPU could have.") { _ in "\(IDSet.maxCPUs - 1)" },
        .readOnly("offline", summary: "CPUs that are there and offline: none.") { _ in "" },
        .readOnly("online", summary: "CPUs that are online: those of the nodes.") { "\($0.cpus)" },
        .readOnly("possible", summary: "CPUs that could ever be online.") { "\($0.cpus)" },
        .readOnly("present", summary: "CPUs that are there.") { "\($0.cpus)" },
    ]
}

extension Machine {
    /// The CPUs of all nodes.
    var cpus: IDSet { nodes.reduce(into: IDSet()) { $0.formUnion($1.cpus) } }
}
