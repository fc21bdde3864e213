import AttributeTree
import CoherentMemory
import MachineTopology
import SystemPackage

/// The devices as PCI functions: sys/devices/pciDDDD:BB and sys/bus/pci.
enum PCITree {
    /// The root buses below sys/devices.
    static func roots(_ services: TreeServices) -> [Child] {
        let names = Set(services.faces.map(\.rootBus)).sorted()
        return names.map { name in
            let faces = services.faces.filter { $0.rootBus == name }
            return .directory(
                name,
                SystemDevice("/devices/\(name)").children(services) + [
                    .mortal(
                        .directory, list: { faces.filter { $0.lifetime != nil }.map { "\($0.address)" } },
                        lookup: { name in
                            guard let face = faces.first(where: { "\($0.address)" == name }),
                                let lifetime = face.lifetime
                            else { return nil }
                            return (
                                .directory(
                                    Directory(
                                        identity: .init(face.device.node.incarnation), function(face, services))),
                                lifetime
                            )
                        })
                ])
        }
    }

    private static func function(_ face: DeviceFaces, _ services: TreeServices) -> [Child] {
        let ascent = face.pciDevice.ascent
        return [
            .attributes(PCIAttributes.table, of: face),
            .attributes([DeviceAttributes.removal], of: Subject(services, face.device)),
            .link("driver", target: "\(ascent)bus/pci/drivers/\(face.pciDriver)"),
        ] + face.pciDevice.children(services)
            + (face.cxl == nil ? DAXTree.children(of: face, services) : CXLTree.children(of: face, services))
    }

    /// sys/bus/pci.
    static func bus(_ services: TreeServices) -> Child {
        let faces = services.faces
        let drivers = Set(faces.map(\.pciDriver)).sorted()
        return .directory(
            "pci",
            [
                .attributes(DeviceClassAttributes.table, of: services.machine),
                .directory("slots", []),
                BusTree.devices(faces) { ("\($0.address)", $0.pciPath) },
                .directory(
                    "drivers",
                    drivers.map { driver in
                        BusTree.driver(driver, of: faces.filter { $0.pciDriver == driver }) {
                            ("\($0.address)", $0.pciPath)
                        }
                    }),
            ])
    }
}

/// sys/devices/pciDDDD:BB/DDDD:BB:DD.F (drivers/pci/pci-sysfs.c).
enum PCIAttributes {
    static let table: [Attribute<DeviceFaces>] = [
        .readOnly("class", summary: "The class, subclass and programming interface.") {
            hex($0.pci.deviceClass, 6)
        },
        .binary("config", count: 256, summary: "The configuration space: the header, without capabilities.") {
            configuration(of: $0.pci)
        },
        .readOnly("consistent_dma_mask_bits", summary: "The bits of an address of coherent DMA.") { _ in "64" },
        .readOnly("device", summary: "The device id.") { hex($0.pci.deviceID, 4) },
        .readOnly("dma_mask_bits", summary: "The bits of an address of DMA.") { _ in "64" },
        .readOnly("enable", summary: "Whether the device is enabled: always.") { _ in "1" },
        .readOnly("irq", summary: "The interrupt line: none.") { _ in "0" },
        .readOnly("local_cpulist", summary: "The CPUs nearest to the device, a list.") { "\($0.cpus)" },
        .readOnly("local_cpus", summary: "The CPUs nearest to the device, a mask.") {
            $0.cpus.map(width: $0.maskWidth)
        },
        .readOnly("modalias", summary: "How drivers name the device.") { $0.pci.modalias },
        .readOnly("numa_node", summary: "The node of the nearest CPUs; -1 if no node has any.") { "\($0.numaNode)" },
        .readOnly("resource", summary: "The address ranges: none, because the memory is not behind a BAR.") { _ in
            Array(repeating: "0x0000000000000000 0x0000000000000000 0x0000000000000000", count: 13)
                .joined(separator: "\n")
        },
        .readOnly("revision", summary: "The revision.") { _ in "0x00" },
        .readOnly("subsystem_device", summary: "The device id of the subsystem: that of the device.") {
            hex($0.pci.deviceID, 4)
        },
        .readOnly("subsystem_vendor", summary: "The vendor of the subsystem: that of the device.") {
            hex($0.pci.vendor, 4)
        },
        .readOnly("vendor", summary: "The vendor.") { hex($0.pci.vendor, 4) },
    ]

    private static func hex(_ value: Int, _ width: Int) -> String { "0x" + uppercase(value, width).lowercased() }

    /// A type 0 header whose other registers are 0: no BAR, no interrupt, no capabilities.
    private static func configuration(of pci: PCIDevice) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 256)
        func put(_ value: Int, at offset: Int, count: Int) {
            for place in 0..<count { bytes[offset + place] = UInt8(truncatingIfNeeded: value >> (8 * place)) }
        }
        put(pci.vendor, at: 0x00, count: 2)
        put(pci.deviceID, at: 0x02, count: 2)
        put(pci.deviceClass, at: 0x09, count: 3)
        put(pci.vendor, at: 0x2c, count: 2)
        put(pci.deviceID, at: 0x2e, count: 2)
        return bytes
    }
}
