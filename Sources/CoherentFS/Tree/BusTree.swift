import AttributeTree
import CoherentMemory

/// sys/bus: where the `subsystem` links of the devices lead.
enum BusTree {
    static func buses(_ services: Services) -> [Child] {
        let machine = services.machine
        return [
            bus(
                "cpu", at: "devices/system/cpu", list: { machine.cpus.map { "cpu\($0)" } },
                contains: { name in machine.cpus.contains { "cpu\($0)" == name } }),
            bus(
                "memory", at: "devices/system/memory", list: { (0..<machine.blockCount).map { "memory\($0)" } },
                contains: { machine.block(named: $0) != nil }),
            bus(
                "node", at: "devices/system/node", list: { machine.nodes.map { "node\($0.id)" } },
                contains: { name in machine.nodes.contains { "node\($0.id)" == name } }),
            MemoryTiers.bus(machine),
        ]
    }

    /// A bus whose devices stand in a folder of sys/.
    static func bus(
        _ name: String, at folder: String, isLasting: Bool = true, list: @escaping @Sendable () -> [String],
        contains: @escaping @Sendable (String) -> Bool
    ) -> Child {
        let lookup: @Sendable (String) -> AttributeTree.Node? = { name in
            contains(name) ? .link("../../../\(folder)/\(name)") : nil
        }
        return .directory(
            name,
            [
                .directory(
                    "devices",
                    [isLasting ? .lasting(.link, list: list, lookup: lookup) : .dynamic(list: list, lookup: lookup)]),
                // No device of these has a driver.
                .directory("drivers", []),
            ])
    }
}
