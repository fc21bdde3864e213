import AttributeTree
import CoherentMemory
import MachineTopology

/// sys/bus: where the `subsystem` links of the devices lead.
enum BusTree {
    static func buses(_ services: TreeServices) -> [Child] {
        let machine = services.machine
        return [
            bus(
                "cpu", at: "devices/system/cpu", list: { machine.cpus.map { "cpu\($0)" } },
                contains: { name in machine.cpus.contains { "cpu\($0)" == name } }),
            bus(
                "memory",
                .mortal(
                    .link, list: { machine.blockNumbers.map { "memory\($0)" } },
                    lookup: { name in
                        machine.block(named: name).map { (device("devices/system/memory", name), $0.lifetime) }
                    })),
            bus(
                "node",
                .mortal(
                    .link, list: { machine.presentNodes.map { "node\($0.id)" } },
                    lookup: { name in
                        guard let lifetime = machine.node(named: name)?.lifetime else { return nil }
                        return (device("devices/system/node", name), lifetime)
                    })),
            MemoryTiers.bus(machine),
        ]
    }

    private static func device(_ folder: String, _ name: String) -> Item {
        .link("../../../\(folder)/\(name)")
    }

    /// A bus whose devices stand in a folder of sys/.
    static func bus(
        _ name: String, at folder: String, isLasting: Bool = true, list: @escaping @Sendable () -> [String],
        contains: @escaping @Sendable (String) -> Bool
    ) -> Child {
        let lookup: @Sendable (String) -> Item? = { name in
            contains(name) ? device(folder, name) : nil
        }
        return bus(
            name, isLasting ? .lasting(.link, list: list, lookup: lookup) : .dynamic(list: list, lookup: lookup))
    }

    /// A bus with links to its devices.
    private static func bus(_ name: String, _ devices: Child) -> Child {
        // No device of these has a driver.
        .directory(name, [.directory("devices", [devices]), .directory("drivers", [])])
    }
}
