import AttributeTree
import CoherentMemory
import LinuxSupport
import MachineTopology

/// A coherent device as the buses of the machine have it: a PCI function, with a DAX region of its memory, and perhaps a memory
/// device of CXL. All of it is there as long as the device's node is.
struct DeviceFaces: Sendable {
    let device: Device
    /// N of cdmN, of the DAX region, and of memN.
    let number: Int
    let pci: PCIDevice
    let address: PCIAddress
    /// The node whose CPUs are nearest, to which the device is attached; nil on a machine without CPUs.
    let nearest: CoherentMemory.Node?
    /// The bits of a mask of CPUs.
    let maskWidth: Int
    /// Where it is on the bus of CXL; nil for a device that is not there.
    let cxl: CXLPlace?
    /// Where the memory that the device begins with is.
    let physicalAddress: UInt64

    private init?(_ device: Device, _ machine: Machine, cxl place: inout Int) {
        guard let pci = machine.topology.node(device.node.id)?.pci, let address = pci.address,
            let number = Int(device.name.dropFirst(3))
        else { return nil }
        self.device = device
        self.number = number
        self.pci = pci
        self.address = address
        nearest = machine.initiators(of: device.node).first
        maskWidth = machine.cpuMaskWidth
        if pci.bus == .cxl {
            cxl = CXLPlace(place, device: number, below: "/devices/pci\(address.rootBus)/\(address)")
            place += 1
        } else {
            cxl = nil
        }
        physicalAddress = (try? machine.physicalAddress(0, of: device)) ?? 0
    }

    /// Those of every device, in the order of the devices.
    static func all(of machine: Machine) -> [DeviceFaces] {
        var place = 0
        return machine.devices.compactMap { DeviceFaces($0, machine, cxl: &place) }
    }

    /// Until the device goes; nil when it is gone already.
    var lifetime: Lifetime? { device.node.lifetime }

    /// The number of the node that the device is attached to (dev_to_node()).
    var numaNode: Int { nearest?.id ?? -1 }

    var cpus: IDSet { nearest?.cpus ?? [] }

    /// The folder of the root bus below sys/devices.
    var rootBus: String { "pci\(address.rootBus)" }

    /// The place of the PCI device below sys/, with a slash in front.
    var pciPath: String { "/devices/\(rootBus)/\(address)" }

    /// Whether there is memory of which a DAX device consists.
    var hasMemory: Bool { size > 0 }

    /// The bytes of the memory that the device begins with.
    var size: UInt64 { device.memory.size }

    /// The name of the one DAX device, which has all of the region.
    var daxName: String { "dax\(number).0" }

    var daxPath: String { "\(cxl?.daxRegion.device.path ?? pciPath)/\(daxName)" }

    /// The name of the memory device on the CXL bus.
    var memoryName: String { "mem\(number)" }

    /// The driver of the PCI device.
    var pciDriver: String {
        switch pci.bus {
        case .pci: "cdm"
        case .cxl: "cxl_pci"
        }
    }

    /// The devices of the driver core that it is, the parents first.
    var devices: [SystemDevice] {
        [pciDevice] + (cxl?.objects(of: self).map(\.device) ?? []) + (hasMemory ? [daxDevice] : [])
    }

    var pciDevice: SystemDevice {
        let (pci, address, driver) = (pci, address, pciDriver)
        return SystemDevice(pciPath, bus: "pci") {
            let ids = "\(uppercase(pci.vendor, 4)):\(uppercase(pci.deviceID, 4))"
            return [
                ("DRIVER", driver), ("PCI_CLASS", uppercase(pci.deviceClass, 4)), ("PCI_ID", ids),
                ("PCI_SUBSYS_ID", ids), ("PCI_SLOT_NAME", "\(address)"), ("MODALIAS", pci.modalias),
            ]
        }
    }

    var daxDevice: SystemDevice {
        let device = device
        return SystemDevice(daxPath, bus: "dax") {
            (device.driver.map { [("DRIVER", $0.rawValue)] } ?? []) + [("MODALIAS", DAXAttributes.modalias)]
        }
    }
}

extension PCIDevice {
    /// How a driver names the devices that it is for (pci_uevent()).
    var modalias: String {
        let ids =
            "v\(uppercase(vendor, 8))d\(uppercase(deviceID, 8))sv\(uppercase(vendor, 8))sd\(uppercase(deviceID, 8))"
        let parts = [16, 8, 0].map { uppercase(deviceClass >> $0 & 0xff, 2) }
        return "pci:\(ids)bc\(parts[0])sc\(parts[1])i\(parts[2])"
    }
}

/// A number in uppercase hexadecimal digits, at least `width` of them.
func uppercase(_ value: Int, _ width: Int) -> String {
    let digits = String(value, radix: 16, uppercase: true)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}

/// Tells user space of the faces of devices that come and go.
final class FaceEvents: Sendable {
    private let faces: [DeviceFaces]
    /// The drivers of the memories, by the names of the devices: the machine cannot be asked while it tells of an event.
    private let drivers: Mutex<[String: MemoryDriver]>

    init(_ faces: [DeviceFaces]) {
        self.faces = faces
        drivers = Mutex(faces.reduce(into: [:]) { $0[$1.device.name] = $1.device.driver })
    }

    /// The events of user space that belong to one of the machine. Called with a lock of the machine held.
    func uevents(of event: MachineEvent) -> [Uevent] {
        switch event {
        case .bound(let name, let driver): change(of: name, to: driver)
        case .unbound(let name, _): change(of: name, to: nil)
        case .nodeAdded(let id): faces.first { $0.device.node.id == id }.map(added) ?? []
        case .nodeRemoved(let id): faces.first { $0.device.node.id == id }.map(removed) ?? []
        default: []
        }
    }

    /// The paths of what goes with a node.
    func paths(ofNode id: Int) -> [String] {
        faces.filter { $0.device.node.id == id }.flatMap { $0.devices.map(\.path) }
    }

    private func change(of name: String, to driver: MemoryDriver?) -> [Uevent] {
        let last = drivers.withLock { drivers in
            defer { drivers[name] = driver }
            return drivers[name]
        }
        guard let face = faces.first(where: { $0.device.name == name }), face.hasMemory else { return [] }
        return driver.map { [Self.dax("bind", face, driver: $0)] }
            ?? last.map { [Self.dax("unbind", face, driver: $0)] } ?? []
    }

    private func added(_ face: DeviceFaces) -> [Uevent] {
        let driver: MemoryDriver = face.device.node.capabilities.contains(.node) ? .kmem : .deviceDAX
        drivers.withLock { $0[face.device.name] = driver }
        let others = face.devices.filter { $0.bus != "dax" }
        let events = others.flatMap { [$0.uevent("add")] + ($0.hasDriver ? [$0.uevent("bind")] : []) }
        return events + (face.hasMemory ? [Self.dax("add", face), Self.dax("bind", face, driver: driver)] : [])
    }

    private func removed(_ face: DeviceFaces) -> [Uevent] {
        let driver = drivers.withLock { $0.removeValue(forKey: face.device.name) }
        let unbound = driver.map { [Self.dax("unbind", face, driver: $0)] } ?? []
        let others = face.devices.reversed().filter { $0.bus != "dax" }
        return (face.hasMemory ? unbound + [Self.dax("remove", face)] : [])
            + others.flatMap { ($0.hasDriver ? [$0.uevent("unbind")] : []) + [$0.uevent("remove")] }
    }

    private static func dax(_ action: String, _ face: DeviceFaces, driver: MemoryDriver? = nil) -> Uevent {
        Uevent(
            action: action, path: face.daxPath, subsystem: "dax",
            details: (driver.map { [("DRIVER", $0.rawValue)] } ?? []) + [("MODALIAS", DAXAttributes.modalias)])
    }
}

extension SystemDevice {
    fileprivate var hasDriver: Bool { variables().contains { $0.name == "DRIVER" } }

    /// An event of the device with all its variables.
    fileprivate func uevent(_ action: String) -> Uevent {
        let isDriverless = action == "add" || action == "remove"
        return Uevent(
            action: action, path: path, subsystem: bus ?? "",
            details: variables().filter { !isDriverless || $0.name != "DRIVER" })
    }
}
