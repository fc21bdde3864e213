import AttributeTree
import CoherentMemory

/// The links between nodes, memory blocks, CPUs and devices (register_cpu_under_node() and its like).
enum NodeLinks {
    /// nodeN/memoryM and nodeN/cpuN.
    static func children(of node: CoherentMemory.Node, _ services: Services) -> [Child] {
        let machine = services.machine
        return node.cpus.map { .link("cpu\($0)", target: "../../cpu/cpu\($0)") } + [
            .lasting(
                .link, list: { machine.blockNumbers(of: node).map { "memory\($0)" } },
                lookup: { name in
                    guard let block = machine.block(named: name), block.node === node else { return nil }
                    return .link("../../memory/\(name)")
                })
        ]
    }

    /// nodeN/cdm/device.
    static func device(of node: CoherentMemory.Node, _ services: Services) -> [Child] {
        services.machine.devices.filter { $0.node === node }.map {
            .link("device", target: "../../../../../class/cdm/\($0.name)")
        }
    }
}

extension Machine {
    /// The block that a directory `memoryM` stands for.
    func block(named name: String) -> MemoryBlock? {
        guard name.hasPrefix("memory"), let number = UInt64(name.dropFirst(6)), "memory\(number)" == name else {
            return nil
        }
        return block(number)
    }
}
