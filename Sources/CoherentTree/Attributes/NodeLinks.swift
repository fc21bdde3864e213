import AttributeTree
import CoherentMemory
import MachineTopology

/// The links between nodes, memory blocks, CPUs and devices (register_cpu_under_node() and its like).
enum NodeLinks {
    /// nodeN/memoryM and nodeN/cpuN.
    static func children(of node: CoherentMemory.Node, _ services: TreeServices) -> [Child] {
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
    static func device(of node: CoherentMemory.Node, _ services: TreeServices) -> [Child] {
        services.machine.devices.filter { $0.node === node }.map {
            .link("device", target: "../../../../../class/cdm/\($0.name)")
        }
    }
}

extension Machine {
    /// The nodes that are there.
    var presentNodes: [CoherentMemory.Node] { nodes.filter(\.isPresent) }

    /// The node that a directory `nodeN` stands for.
    func node(named name: String) -> CoherentMemory.Node? {
        guard name.hasPrefix("node"), let id = Int(name.dropFirst(4)), "node\(id)" == name, let node = node(id) else {
            return nil
        }
        return node.isPresent ? node : nil
    }

    /// The block that a directory `memoryM` stands for.
    func block(named name: String) -> MemoryBlock? {
        guard name.hasPrefix("memory"), let number = UInt64(name.dropFirst(6)), "memory\(number)" == name else {
            return nil
        }
        return block(number)
    }
}

extension CoherentMemory.Node {
    /// Until the node goes; nil when it is gone already.
    var lifetime: Lifetime? { incarnation & 1 == 0 ? lifetime(of: incarnation) : nil }

    fileprivate func lifetime(of incarnation: UInt32) -> Lifetime { Lifetime { self.incarnation != incarnation } }
}

extension MemoryBlock {
    /// Until the block goes, which it does with its node.
    var lifetime: Lifetime { node.lifetime(of: incarnation) }
}
