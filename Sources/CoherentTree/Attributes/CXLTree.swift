import AttributeTree
import CoherentMemory
import LinuxSupport
import MachineTopology
import SystemPackage

/// The devices on the bus of CXL: memN below their PCI devices, the way from the root to them, sys/bus/cxl, and
/// sys/kernel/debug/cxl.
///
///     ACPI0017:00/root0                                  a window and an endpoint for each device
///         decoder0.K/regionN/dax_regionN/daxN.0          the window, and what is in it while the device is there
///         endpointE/decoderE.0                           the port of memN
///
/// A device has no mailbox: what Linux reads through it is empty, as for any such device.
enum CXLTree {
    private static func faces(_ services: TreeServices) -> [DeviceFaces] {
        services.faces.filter { $0.cxl != nil }
    }

    /// memN of a PCI device.
    static func children(of face: DeviceFaces, _ services: TreeServices) -> [Child] {
        guard let place = face.cxl else { return [] }
        return [
            directory(
                place.memory, services,
                [
                    .attributes(CXLMemoryAttributes.table, of: face),
                    .directory("ram", [.attributes(CXLMemoryAttributes.size { $0.size }, of: face)]),
                    .directory("pmem", [.attributes(CXLMemoryAttributes.size { _ in 0 }, of: face)]),
                    .directory("security", [.attributes(CXLMemoryAttributes.security, of: face)]),
                ])
        ]
    }

    /// sys/devices/platform, on a machine with a device of CXL.
    static func platform(_ services: TreeServices) -> [Child] {
        let faces = faces(services)
        guard !faces.isEmpty else { return [] }
        let host = SystemDevice(CXLPlace.host)
        return [
            .directory(
                "platform", [.directory(host.name, host.children(services) + [root(faces, services)])])
        ]
    }

    private static func root(_ faces: [DeviceFaces], _ services: TreeServices) -> Child {
        let root = CXLPlace.root
        let endpoints = faces.compactMap { face in face.cxl.map { (face, endpoint(of: face, $0, services)) } }
        return directory(
            root, services,
            [
                .attributes(CXLObjectAttributes.table, of: root),
                .attributes(CXLPortAttributes.table, of: faces),
                .link("uport", target: "../../\(SystemDevice(CXLPlace.host).name)"),
                mortal(endpoints),
            ]
                + faces.flatMap { face -> [Child] in
                    guard let place = face.cxl else { return [] }
                    return [
                        .link("dport\(place.number)", target: "\(root.device.ascent)devices/\(face.rootBus)"),
                        directory(
                            place.window, services,
                            [
                                .attributes(CXLObjectAttributes.table, of: place.window),
                                .attributes(CXLDecoderAttributes.common, of: face),
                                .attributes(CXLDecoderAttributes.window, of: face),
                                mortal([(face, region(of: face, place, services))]),
                            ]),
                    ]
                })
    }

    private static func endpoint(of face: DeviceFaces, _ place: CXLPlace, _ services: TreeServices) -> [Child] {
        let ascent = place.endpoint.device.ascent
        return [
            directory(
                place.endpoint, services,
                [
                    .attributes(CXLObjectAttributes.table, of: place.endpoint),
                    .attributes(CXLPortAttributes.table, of: [face]),
                    .link("uport", target: "\(ascent.dropLast())\(place.memory.device.path)"),
                    .link("parent_dport", target: "\(ascent)devices/\(face.rootBus)"),
                    directory(
                        place.decoder, services,
                        [
                            .attributes(CXLObjectAttributes.table, of: place.decoder),
                            .attributes(CXLDecoderAttributes.common, of: face),
                            .attributes(CXLDecoderAttributes.endpoint, of: face),
                        ]),
                ])
        ]
    }

    private static func region(of face: DeviceFaces, _ place: CXLPlace, _ services: TreeServices) -> [Child] {
        guard face.hasMemory else { return [] }
        return [
            directory(
                place.region, services,
                [
                    .attributes(CXLObjectAttributes.table, of: place.region),
                    .attributes(CXLRegionAttributes.table, of: face),
                    directory(
                        place.daxRegion, services,
                        [.attributes(CXLObjectAttributes.table, of: place.daxRegion)]
                            + DAXTree.children(of: face, services)),
                ])
        ]
    }

    private static func directory(_ object: CXLObject, _ services: TreeServices, _ children: [Child]) -> Child {
        let device = object.device
        let driver = object.driver.map { [Child.link("driver", target: "\(device.ascent)bus/cxl/drivers/\($0)")] }
        return .directory(device.name, children + device.children(services) + (driver ?? []))
    }

    /// Directories that are there as long as their devices.
    private static func mortal(_ directories: [(face: DeviceFaces, children: [Child])]) -> Child {
        let directories = directories.map { ($0.face, Directory($0.children)) }
        return .mortal(
            .directory,
            list: { directories.filter { $0.0.lifetime != nil }.flatMap { $0.1.names } },
            lookup: { name in
                for (face, directory) in directories {
                    guard let item = directory.lookup(name), case .directory(let found) = item else { continue }
                    let incarnation = face.device.node.incarnation
                    guard let lifetime = face.lifetime else { return nil }
                    return (.directory(found.identified(by: .init(incarnation))), lifetime)
                }
                return nil
            })
    }

    /// sys/bus/cxl, on a machine with a device of CXL.
    static func bus(_ services: TreeServices) -> [Child] {
        let faces = faces(services)
        guard !faces.isEmpty else { return [] }
        let places = faces.compactMap { face in face.cxl.map { (face, $0) } }
        let mortal = places.flatMap { face, place in place.objects(of: face).map { (face, $0) } }
        let fixed = [CXLPlace.root] + places.map(\.1.window)
        let drivers = Set(mortal.compactMap(\.1.driver)).sorted()
        return [
            .directory(
                "cxl",
                [
                    .directory(
                        "devices",
                        fixed.map { .link($0.device.name, target: "../../..\($0.device.path)") }
                            + [links(mortal, above: "../../..")]),
                    .directory(
                        "drivers",
                        drivers.map { driver in
                            .directory(driver, [links(mortal.filter { $0.1.driver == driver }, above: "../../../..")])
                        }),
                ])
        ]
    }

    private static func links(_ objects: [(DeviceFaces, CXLObject)], above ascent: String) -> Child {
        BusTree.links(objects.map { ($0.0, $0.1.device.name, $0.1.device.path) }, above: ascent)
    }

    /// sys/kernel/debug/cxl (Documentation/ABI/testing/debugfs-cxl): the poison of sys/kernel/debug/cdm.
    static func debugging(_ services: TreeServices) -> [Child] {
        let faces = faces(services)
        guard !faces.isEmpty else { return [] }
        let table = FaultInjectionAttributes.table.filter { ["inject_poison", "clear_poison"].contains($0.name) }
        return [
            .directory(
                "cxl",
                Directory(
                    permissions: .ownerReadWriteExecute,
                    [
                        .mortal(
                            .directory, list: { faces.filter { $0.lifetime != nil }.map(\.memoryName) },
                            lookup: { name in
                                guard let face = faces.first(where: { $0.memoryName == name }),
                                    let lifetime = face.lifetime
                                else { return nil }
                                return (
                                    .directory(
                                        Directory(
                                            identity: .init(face.device.node.incarnation),
                                            permissions: .ownerReadWriteExecute,
                                            [.attributes(table, of: Subject(services, face.device))])), lifetime
                                )
                            })
                    ]))
        ]
    }
}

/// A device of the bus of CXL.
struct CXLObject: Sendable {
    let device: SystemDevice
    /// The word in `devtype`.
    let type: String
    /// The number in `modalias`; 0 for what no driver is for.
    let kind: Int
    /// The driver, if one is for it.
    let driver: String?

    init(_ path: String, _ type: String, kind: Int = 0, driver: String? = nil) {
        self.type = type
        self.kind = kind
        self.driver = driver
        device = SystemDevice(path, bus: "cxl") {
            [("DEVTYPE", type)] + (driver.map { [("DRIVER", $0)] } ?? []) + [("MODALIAS", "cxl:t\(kind)")]
        }
    }
}

/// Where a device is on the bus of CXL (drivers/cxl/core/port.c and region.c).
struct CXLPlace: Sendable {
    /// The firmware's object for all of CXL.
    static let host = "/devices/platform/ACPI0017:00"
    /// The port above all.
    static let root = CXLObject("\(host)/root0", "cxl_port", kind: 4)

    /// Its place among the devices of CXL: of the window, and of the port of the root.
    let number: Int
    let memory: CXLObject
    let window: CXLObject
    let region: CXLObject
    let daxRegion: CXLObject
    let endpoint: CXLObject
    let decoder: CXLObject

    /// - Parameters:
    ///   - number: the place among the devices of CXL.
    ///   - device: N of memN and regionN.
    ///   - pciPath: the place of the PCI device.
    init(_ number: Int, device: Int, below pciPath: String) {
        self.number = number
        // The root is port 0.
        let port = number + 1
        memory = CXLObject("\(pciPath)/mem\(device)", "cxl_memdev", kind: 5, driver: "cxl_mem")
        window = CXLObject("\(Self.root.device.path)/decoder0.\(number)", "cxl_decoder_root")
        region = CXLObject("\(window.device.path)/region\(device)", "cxl_region", kind: 6, driver: "cxl_region")
        daxRegion = CXLObject(
            "\(region.device.path)/dax_region\(device)", "cxl_dax_region", kind: 8, driver: "cxl_dax_region")
        endpoint = CXLObject("\(Self.root.device.path)/endpoint\(port)", "cxl_port", kind: 3, driver: "cxl_port")
        decoder = CXLObject("\(endpoint.device.path)/decoder\(port).0", "cxl_decoder_endpoint")
    }

    /// What is there as long as the device, the parents first.
    func objects(of face: DeviceFaces) -> [CXLObject] {
        [memory, endpoint, decoder] + (face.hasMemory ? [region, daxRegion] : [])
    }
}

/// What every device of the bus has but memN.
enum CXLObjectAttributes {
    static let table: [Attribute<CXLObject>] = [
        .readOnly("devtype", summary: "The type of the device.") { $0.type },
        .readOnly("modalias", summary: "How drivers name the device.") { "cxl:t\($0.kind)" },
    ]
}

/// root0 and endpointN (drivers/cxl/core/port.c), of which `faces` are below.
enum CXLPortAttributes {
    static let table: [Attribute<[DeviceFaces]>] = [
        .readOnly("decoders_committed", summary: "Decoders of the port in use.") { faces in
            "\(faces.count { $0.lifetime != nil && $0.hasMemory })"
        }
    ]
}

/// decoderN.M.
enum CXLDecoderAttributes {
    /// Of both kinds.
    static let common: [Attribute<DeviceFaces>] = [
        .readOnly("interleave_granularity", summary: "The bytes from one target to the next, if there were more.") {
            _ in "256"
        },
        .readOnly("interleave_ways", summary: "The number of targets.") { _ in "1" },
        .readOnly("locked", summary: "Whether it can be changed: not at all.") { _ in "1" },
        .readOnly("size", summary: "The bytes of the range of physical addresses.") { hex($0.size) },
        .readOnly("start", summary: "The first physical address of the range.") { hex($0.physicalAddress) },
    ]

    /// A range that the firmware reserves for a device.
    static let window: [Attribute<DeviceFaces>] = [
        .readOnly("cap_pmem", summary: "Whether persistent memory can be in the range: no.") { _ in "0" },
        .readOnly("cap_ram", summary: "Whether volatile memory can be in the range.") { _ in "1" },
        .readOnly("cap_type2", summary: "Whether memory of accelerators can be in the range.") { _ in "1" },
        .readOnly("cap_type3", summary: "Whether memory of expanders can be in the range.") { _ in "1" },
        .readOnly("target_list", summary: "The downstream ports of the range.") { "\($0.cxl?.number ?? 0)" },
    ]

    /// The memory of a device in a range.
    static let endpoint: [Attribute<DeviceFaces>] = [
        .readOnly("dpa_resource", summary: "The first device address of the range.") { _ in "0x0" },
        .readOnly("dpa_size", summary: "The bytes of the range of device addresses.") { hex($0.size) },
        .readOnly("mode", summary: "The kind of memory.") { _ in "ram" },
        .readOnly("region", summary: "The region of the range.") { $0.hasMemory ? "region\($0.number)" : "" },
        .readOnly("target_type", summary: "The kind of device.") { _ in "expander" },
    ]
}

/// regionN (drivers/cxl/core/region.c).
enum CXLRegionAttributes {
    static let table: [Attribute<DeviceFaces>] = [
        .readOnly("commit", summary: "Whether the range is in use.") { _ in "1" },
        .readOnly("interleave_granularity", summary: "The bytes from one target to the next, if there were more.") {
            _ in "256"
        },
        .readOnly("interleave_ways", summary: "The number of targets.") { _ in "1" },
        .readOnly("mode", summary: "The kind of memory.") { _ in "ram" },
        .readOnly("resource", summary: "The first physical address of the range.") { hex($0.physicalAddress) },
        .readOnly("size", summary: "The bytes of the range.") { hex($0.size) },
        .readOnly("target0", summary: "The decoder of its one target.") { $0.cxl?.decoder.device.name ?? "" },
        .readOnly("uuid", summary: "The identity of a persistent region: empty.") { _ in "" },
    ]
}

/// memN (drivers/cxl/core/memdev.c).
enum CXLMemoryAttributes {
    static let table: [Attribute<DeviceFaces>] = [
        .readOnly("firmware_version", summary: "The version of the firmware: empty without a mailbox.") { _ in "" },
        .readOnly("label_storage_size", summary: "The bytes for labels: empty without a mailbox.") { _ in "" },
        .readOnly("numa_node", summary: "The node of the nearest CPUs; -1 if no node has any.") { "\($0.numaNode)" },
        .readOnly("payload_max", summary: "The bytes of a command of the mailbox: empty without one.") { _ in "" },
        .readOnly("serial", summary: "The serial number: that of the device.") { hex(UInt64($0.number)) },
    ]

    static let security: [Attribute<DeviceFaces>] = [
        .readOnly("state", summary: "The state of the security: disabled.") { _ in "disabled" }
    ]

    static func size(_ size: @escaping @Sendable (DeviceFaces) -> UInt64) -> [Attribute<DeviceFaces>] {
        [.readOnly("size", summary: "The bytes of this kind of memory.") { hex(size($0)) }]
    }
}
