import AttributeTree
import CoherentMemory
import LinuxSupport
import MachineTopology
import SystemPackage

/// The memories of the devices as DAX regions, of one DAX device each: below the PCI devices, and sys/bus/dax.
enum DAXTree {
    /// dax_region/ and daxN.0/ of a device with memory.
    static func children(of face: DeviceFaces, _ services: TreeServices) -> [Child] {
        guard face.hasMemory else { return [] }
        let subject = Subject(services, face)
        let ascent = face.daxDevice.ascent
        return [
            .directory("dax_region", [.attributes(DAXRegionAttributes.table, of: face)]),
            .directory(
                face.daxName,
                [
                    .attributes(DAXAttributes.table, of: subject),
                    .directory(
                        "mapping0",
                        [.attributes(DAXMappingAttributes.table, of: face)]
                            + SystemDevice("\(face.daxPath)/mapping0").children(services)),
                    .dynamic(
                        list: { face.device.driver == nil ? [] : ["driver"] },
                        lookup: { name in
                            guard name == "driver", let driver = face.device.driver else { return nil }
                            return .link("\(ascent)bus/dax/drivers/\(driver.rawValue)")
                        }),
                ] + face.daxDevice.children(services)),
        ]
    }

    /// sys/bus/dax.
    static func bus(_ services: TreeServices) -> Child {
        let faces = services.faces.filter(\.hasMemory)
        return .directory(
            "dax",
            [
                BusTree.devices(faces) { ($0.daxName, $0.daxPath) },
                .directory(
                    "drivers",
                    MemoryDriver.allCases.map { driver in
                        .directory(
                            driver.rawValue,
                            [
                                .attributes(DAXDriverAttributes.table, of: Subject(services, driver)),
                                .link("module", target: "../../../../module/\(driver.rawValue)"),
                                .dynamic(
                                    list: { faces.filter { $0.isBound(to: driver) }.map(\.daxName) },
                                    lookup: { name in
                                        faces.first { $0.daxName == name && $0.isBound(to: driver) }.map {
                                            .link("../../../..\($0.daxPath)")
                                        }
                                    }),
                            ])
                    }),
            ])
    }

    /// sys/module: the drivers, for programs that load a module before its use.
    static let modules: [Child] = MemoryDriver.allCases.map { driver in
        .directory(
            driver.rawValue,
            [
                .attributes(ModuleAttributes.table, of: ()),
                .directory(
                    "drivers",
                    [.link("dax:\(driver.rawValue)", target: "../../../bus/dax/drivers/\(driver.rawValue)")]),
            ])
    }
}

extension DeviceFaces {
    fileprivate func isBound(to driver: MemoryDriver) -> Bool { lifetime != nil && device.driver == driver }

    /// The driver that takes the DAX device without being told its id: the one with which it began
    /// (IORESOURCE_DAX_KMEM).
    fileprivate func preferredDriver(_ machine: Machine) -> MemoryDriver {
        let capabilities = machine.topology.node(device.node.id)?.capabilities ?? []
        return capabilities.contains(.node) ? .kmem : .deviceDAX
    }
}

/// The ids that drivers were told of with `new_id`.
final class DAXIDs: Sendable {
    /// The most ids of one driver: more than there can be devices.
    private static let limit = 4096

    private let ids = Mutex<[MemoryDriver: Set<String>]>([:])

    func contains(_ name: String, _ driver: MemoryDriver) -> Bool {
        ids.withLock { $0[driver]?.contains(name) ?? false }
    }

    func insert(_ name: String, _ driver: MemoryDriver) throws(Errno) {
        try ids.withLock { ids throws(Errno) in
            guard ids[driver, default: []].count < Self.limit || ids[driver]?.contains(name) == true else {
                throw .noMemory
            }
            ids[driver, default: []].insert(name)
        }
    }

    func remove(_ name: String, _ driver: MemoryDriver) { ids.withLock { _ = $0[driver]?.remove(name) } }
}

/// sys/bus/dax/drivers/DRIVER (drivers/base/bus.c, drivers/dax/bus.c).
enum DAXDriverAttributes {
    static let table: [Attribute<Subject<MemoryDriver>>] = [
        .writeOnly(
            "bind", summary: "Gives a DAX device, by its name, to the driver.",
            start: { subject, text throws(Errno) in
                let (machine, driver) = (subject.machine, subject.part)
                guard let face = subject.face(named: text.text), subject.matches(face) else {
                    throw text.refused(
                        .operationNotSupportedByDevice,
                        "\(text.quoted) is not a device that the driver is for; new_id names it to the driver")
                }
                return Job("bind") { _ throws(Errno) in
                    do throws(Errno) {
                        try machine.bind(face.device, to: driver)
                    } catch .resourceBusy {
                        throw text.refused(.resourceBusy, "the device has a driver, or is being changed")
                    }
                }
            }),
        .writeOnly(
            "new_id", summary: "Names a DAX device for the driver, which takes it if it has no driver.",
            start: { subject, text throws(Errno) in
                let (machine, driver) = (subject.machine, subject.part)
                let name = try deviceName(text)
                do throws(Errno) {
                    try subject.services.daxIDs.insert(name, driver)
                } catch {
                    throw text.refused(error, "the driver has too many ids")
                }
                return Job("bind") { _ in
                    // As driver_attach() has it, what does not come about is no error of the id.
                    if let face = subject.face(named: name) { try? machine.bind(face.device, to: driver) }
                }
            }),
        .writeOnly(
            "remove_id", summary: "Takes a name back that `new_id` has named; the device keeps its driver.",
            store: { subject, text throws(Errno) in
                subject.services.daxIDs.remove(try deviceName(text), subject.part)
            }),
        .writeOnly(
            "unbind", summary: "Takes a DAX device, by its name, from the driver.",
            start: { subject, text throws(Errno) in
                let (machine, driver) = (subject.machine, subject.part)
                guard let face = subject.face(named: text.text), face.device.driver == driver else {
                    throw text.refused(
                        .operationNotSupportedByDevice, "\(text.quoted) is not a device of the driver")
                }
                return Job("unbind") { _ throws(Errno) in
                    do throws(Errno) {
                        try machine.unbind(face.device, from: driver)
                    } catch .resourceBusy {
                        throw text.refused(
                            .resourceBusy,
                            driver == .kmem
                                ? "a memory block of the device is online, or the device is being changed"
                                : "the device file has pages, or the device is being changed")
                    }
                }
            }),
    ]

    /// A name `daxX.Y`, of a device or not (do_id_store()).
    private static func deviceName(_ text: AttributeText) throws(Errno) -> String {
        let name = text.text
        let numbers = name.dropFirst(3).split(separator: ".", omittingEmptySubsequences: false).map { UInt32($0) }
        guard name.hasPrefix("dax"), numbers.count == 2, let region = numbers[0], let id = numbers[1],
            name == "dax\(region).\(id)"
        else { throw text.refused(.invalidArgument, "\(text.quoted) is not a name such as dax0.0") }
        return name
    }
}

extension Subject<MemoryDriver> {
    /// The DAX device of a name, while it is there.
    fileprivate func face(named name: String) -> DeviceFaces? {
        services.faces.first { $0.hasMemory && $0.daxName == name && $0.lifetime != nil }
    }

    /// Whether the driver is for a device (dax_bus_match()).
    fileprivate func matches(_ face: DeviceFaces) -> Bool {
        face.preferredDriver(machine) == part || services.daxIDs.contains(face.daxName, part)
    }
}

/// dax_region of the device that registers it (drivers/dax/bus.c).
enum DAXRegionAttributes {
    static let table: [Attribute<DeviceFaces>] = [
        .readOnly("align", permissions: .ownerRead, summary: "The alignment of mappings, in bytes.") { _ in
            "\(DAXAttributes.alignment)"
        },
        .readOnly("available_size", summary: "The bytes that no DAX device has: 0, because one has them all.") { _ in
            "0"
        },
        .readWrite(
            "create", summary: "1: makes another DAX device of available bytes; shows the last one that was made.",
            show: { _ in "" },
            store: { _, text throws(Errno) in
                guard try text.integer() == 1 else { throw text.refused(.invalidArgument, "expected 1") }
                throw text.refused(.noSpace, "the region has no available bytes")
            }),
        .writeOnly(
            "delete", summary: "Deletes a DAX device by its name: the first one of a region stays.",
            store: { face, text throws(Errno) in
                guard text.text == face.daxName else {
                    throw text.refused(.noSuchAddressOrDevice, "the region has no device \(text.quoted)")
                }
                throw text.refused(.resourceBusy, "the first device of a region stays")
            }),
        .readOnly("id", summary: "The number of the region: that of the device.") { "\($0.number)" },
        .readOnly("seed", summary: "The DAX device without bytes that is the next one to be used: none.") { _ in "" },
        .readOnly("size", summary: "The bytes of the region: the memory of the device.") { "\($0.size)" },
    ]
}

/// daxN.0 (drivers/dax/bus.c).
enum DAXAttributes {
    /// Mappings of the device file need no more.
    static let alignment = Page.size
    /// What a size must be a multiple of (memremap_compat_align()).
    private static let granule: UInt64 = 2 << 20
    /// How drivers name the devices: the type is always 0.
    static let modalias = "dax:t0"

    static let table: [Attribute<Subject<DeviceFaces>>] = [
        .readWrite(
            "align", summary: "The alignment of mappings in bytes, which is fixed.", show: { _ in "\(alignment)" },
            store: { subject, text throws(Errno) in
                guard try text.unsigned() == alignment else {
                    throw text.refused(.invalidArgument, "the alignment of mappings is \(alignment)")
                }
                try refuseWhileBound(subject, text)
            }),
        .writeOnly(
            "mapping", summary: "START-END: gives the device a range of available bytes of its region.",
            store: { _, text throws(Errno) in
                let ends = text.text.split(separator: "-", omittingEmptySubsequences: false).map { text.part($0) }
                guard ends.count == 2 else {
                    throw text.refused(.invalidArgument, "expected START-END in hexadecimal")
                }
                let (start, end) = (try ends[0].hexadecimal(), try ends[1].hexadecimal())
                guard start <= end, (end - start) % granule == granule - 1 else {
                    throw text.refused(.noSuchAddressOrDevice, "the length is not a multiple of \(granule)")
                }
                throw text.refused(.noMemory, "the region has no available bytes")
            }),
        .readOnly("modalias", summary: "How drivers name the device.") { _ in modalias },
        .readOnly("numa_node", summary: "The node of the nearest CPUs; -1 if no node has any.") {
            "\($0.part.numaNode)"
        },
        .readOnly("resource", permissions: .ownerRead, summary: "The physical address of the memory.") {
            hex($0.part.physicalAddress)
        },
        .readWrite(
            "size", summary: "The bytes of the device, which are those of its region.",
            show: { "\($0.part.size)" },
            store: { subject, text throws(Errno) in
                let size = try text.unsigned()
                guard size.isMultiple(of: granule) else {
                    throw text.refused(.invalidArgument, "\(size) is not a multiple of \(granule)")
                }
                try refuseWhileBound(subject, text)
                if size > subject.part.size {
                    throw text.refused(.noSpace, "the region has \(subject.part.size) bytes")
                }
                guard size == subject.part.size else {
                    throw text.refused(.notSupported, "a device has its region as a whole")
                }
            }),
        .readOnly("target_node", summary: "The node of the memory while the driver kmem has it.") {
            "\($0.part.device.node.id)"
        },
    ]

    private static func refuseWhileBound(
        _ subject: Subject<DeviceFaces>, _ text: AttributeText
    ) throws(Errno) {
        guard subject.part.device.driver == nil else {
            throw text.refused(.resourceBusy, "the device has a driver")
        }
    }
}

/// daxN.0/mapping0: the one range of a DAX device.
enum DAXMappingAttributes {
    static let table: [Attribute<DeviceFaces>] = [
        .readOnly("end", permissions: .ownerRead, summary: "The physical address of its last byte.") {
            hex($0.physicalAddress + ($0.size - 1))
        },
        .readOnly("page_offset", permissions: .ownerRead, summary: "Its place in the device, in pages.") { _ in "0" },
        .readOnly("start", permissions: .ownerRead, summary: "The physical address of its first byte.") {
            hex($0.physicalAddress)
        },
    ]
}

/// sys/module/NAME (kernel/module/sysfs.c).
enum ModuleAttributes {
    static let table: [Attribute<Void>] = [
        .readOnly("initstate", summary: "Whether the module is loaded: always.") { _ in "live" }
    ]
}
