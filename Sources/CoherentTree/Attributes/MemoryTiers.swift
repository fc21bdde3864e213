import AttributeTree
import CoherentMemory
import MachineTopology

/// sys/devices/virtual/memory_tiering (mm/memory-tiers.c).
///
/// A node's tier follows from its abstract distance, of which 128 are one tier. Of RAM that is 576, hence tier 4.
/// Memory of a device has the one that drivers/dax/kmem.c begins with, five times that of RAM: 2880, hence tier 22, whatever
/// the figures of its link are: as on a Linux machine whose firmware has no HMAT for it (mt_calc_adistance()).
///
///     machine               tiers
///     RAM 0, device 1       memory_tier4: 0    memory_tier22: 1
///     device 1 offline      memory_tier4: 0
enum MemoryTiers {
    private static let chunkBits = 7

    /// The tier of a node; nil for one that is in none.
    static func tier(of node: CoherentMemory.Node) -> Int? {
        guard node.hasMemory, !node.capabilities.isDisjoint(with: [.mempolicy, .demotion]) else { return nil }
        return node.abstractDistance >> chunkBits
    }

    /// The tiers that have nodes with memory.
    private static func tiers(of machine: Machine) -> [Int: IDSet] {
        machine.nodes.reduce(into: [:]) { tiers, node in
            if let tier = tier(of: node) { tiers[tier, default: IDSet()].insert(node.id) }
        }
    }

    private static func names(_ machine: Machine) -> [String] {
        tiers(of: machine).keys.sorted().map { "memory_tier\($0)" }
    }

    static func directory(_ services: TreeServices) -> [Child] {
        let machine = services.machine
        return SystemDevice("/devices/virtual/memory_tiering").children(services) + [
            .dynamic(
                list: { names(machine) },
                lookup: { name in
                    guard let tier = tiers(of: machine).keys.first(where: { name == "memory_tier\($0)" }) else {
                        return nil
                    }
                    let device = SystemDevice("/devices/virtual/memory_tiering/\(name)", bus: "memory_tiering")
                    return .directory(
                        Directory(
                            identity: .init(tier),
                            [.attributes(table, of: Tier(machine: machine, number: tier))] + device.children(services)))
                })
        ]
    }

    /// sys/bus/memory_tiering.
    static func bus(_ machine: Machine) -> Child {
        BusTree.bus(
            "memory_tiering", at: "devices/virtual/memory_tiering", isLasting: false, list: { names(machine) },
            contains: { names(machine).contains($0) })
    }

    private struct Tier: Sendable {
        let machine: Machine
        let number: Int
    }

    private static let table: [Attribute<Tier>] = [
        .readOnly("nodelist", summary: "The nodes of the tier, a list.") { tier in
            "\(tiers(of: tier.machine)[tier.number] ?? IDSet())"
        }
    ]
}
