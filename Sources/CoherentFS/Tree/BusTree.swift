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
        _ name: String, at folder: String, list: @escaping @Sendable () -> [String],
        contains: @escaping @Sendable (String) -> Bool
    ) -> Child {
        .directory(
            name,
            [
                .directory(
                    "devices",
                    [
                        .dynamic(
                            list: list, lookup: { contains($0) ? .link("../../../\(folder)/\($0)") : nil })
                    ]),
                // No device of these has a driver.
                .directory("drivers", []),
            ])
    }
}
