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
            PCITree.bus(services),
            DAXTree.bus(services),
        ] + CXLTree.bus(services)
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

    /// A bus with links to its devices, none of which has a driver.
    private static func bus(_ name: String, _ devices: Child) -> Child {
        .directory(name, [.directory("devices", [devices]), .directory("drivers", [])])
    }

    /// The folder `devices` of a bus that coherent devices are on, each with its name and its path below sys/.
    static func devices(
        _ faces: [DeviceFaces], _ place: (DeviceFaces) -> (name: String, path: String)
    ) -> Child {
        .directory("devices", [links(faces.map { ($0, place($0).name, place($0).path) }, above: "../../..")])
    }

    /// The folder of a driver that has such devices for as long as they are there, and so has no `bind` and `unbind`
    /// (suppress_bind_attrs).
    static func driver(
        _ name: String, of faces: [DeviceFaces], _ place: (DeviceFaces) -> (name: String, path: String)
    ) -> Child {
        .directory(name, [links(faces.map { ($0, place($0).name, place($0).path) }, above: "../../../..")])
    }

    /// Links to places below sys/, which are there as long as their devices.
    static func links(_ places: [(face: DeviceFaces, name: String, path: String)], above ascent: String) -> Child {
        .mortal(
            .link, list: { places.filter { $0.face.lifetime != nil }.map(\.name) },
            lookup: { name in
                guard let place = places.first(where: { $0.name == name }), let lifetime = place.face.lifetime else {
                    return nil
                }
                return (.link(ascent + place.path), lifetime)
            })
    }
}
