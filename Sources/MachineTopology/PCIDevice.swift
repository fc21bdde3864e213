/// The place of a function on the PCI buses of a machine: `0000:01:00.0`.
public struct PCIAddress: Sendable, Hashable, CustomStringConvertible, LosslessStringConvertible {
    /// The domain (segment).
    public var domain: UInt16
    /// The bus, which is a root bus.
    public var bus: UInt8
    /// The device on the bus, 0 to 31.
    public var device: UInt8
    /// The function of the device, 0 to 7.
    public var function: UInt8

    /// An address.
    public init(domain: UInt16, bus: UInt8, device: UInt8, function: UInt8 = 0) {
        self.domain = domain
        self.bus = bus
        self.device = device
        self.function = function
    }

    /// The address of a text in hexadecimal digits, `DDDD:BB:DD.F`; nil for any other text.
    public init?(_ description: String) {
        let digits = description.utf8.map { byte -> UInt8? in
            switch byte {
            case 0x30...0x39: byte - 0x30
            case 0x41...0x46, 0x61...0x66: (byte | 0x20) - 0x61 + 10
            default: nil
            }
        }
        let marks: [Int: UInt8] = [4: UInt8(ascii: ":"), 7: UInt8(ascii: ":"), 10: UInt8(ascii: ".")]
        guard digits.count == 12,
            description.utf8.enumerated().allSatisfy({ marks[$0] == nil ? digits[$0] != nil : $1 == marks[$0] })
        else { return nil }
        func number(_ range: Range<Int>) -> UInt16 { range.reduce(0) { $0 << 4 | UInt16(digits[$1] ?? 0) } }
        guard number(8..<10) < 32, number(11..<12) < 8 else { return nil }
        self.init(
            domain: number(0..<4), bus: UInt8(number(5..<7)), device: UInt8(number(8..<10)),
            function: UInt8(number(11..<12)))
    }

    /// The root bus, `DDDD:BB`.
    public var rootBus: String { "\(hexadecimal(domain, 4)):\(hexadecimal(bus, 2))" }

    /// The text, in lowercase digits.
    public var description: String { "\(rootBus):\(hexadecimal(device, 2)).\(function)" }
}

/// What a coherent device is on the buses of its machine.
public struct PCIDevice: Sendable, Hashable {
    /// The bus on which drivers find the memory of a device.
    public enum Bus: String, Sendable, Hashable, CaseIterable {
        /// PCI alone.
        case pci
        /// CXL, over PCI.
        case cxl

        /// The default class of a device: a processing accelerator, or a CXL memory device.
        public var deviceClass: Int {
            switch self {
            case .pci: 0x120000
            case .cxl: 0x050210
            }
        }
    }

    /// The valid vendors: 0 and 0xffff are none.
    public static let vendors = 1...0xfffe
    /// The valid device ids.
    public static let deviceIDs = 0...0xffff
    /// The valid classes.
    public static let classes = 0...0xff_ffff

    /// The bus.
    public var bus: Bus
    /// The address; nil for one that the topology chooses.
    public var address: PCIAddress?
    /// The vendor, in ``vendors``.
    public var vendor: Int
    /// The id that the vendor gives the device, in ``deviceIDs``.
    public var deviceID: Int
    /// The class, subclass and programming interface, in ``classes``.
    public var deviceClass: Int

    /// A device. The default vendor is the one that emulators use for devices without a vendor.
    public init(
        bus: Bus = .pci, address: PCIAddress? = nil, vendor: Int = 0x1234, deviceID: Int = 0x0cd0,
        deviceClass: Int? = nil
    ) {
        self.bus = bus
        self.address = address
        self.vendor = vendor
        self.deviceID = deviceID
        self.deviceClass = deviceClass ?? bus.deviceClass
    }
}

extension PCIDevice {
    /// The keys of a `[[node]]`.
    static let keys = ["bus", "pci", "vendor", "device_id", "class"]

    init(_ table: TOMLReader) throws(TopologyError) {
        self.init(bus: try table.word("bus") ?? .pci)
        if let text = try table.string("pci") {
            guard let address = PCIAddress(text) else {
                throw table.error(
                    "pci", found: "pci \(clip(text))", expected: "an address such as \"0000:01:00.0\", in hexadecimal")
            }
            self.address = address
        }
        vendor = try table.integer("vendor", in: Self.vendors) ?? vendor
        deviceID = try table.integer("device_id", in: Self.deviceIDs) ?? deviceID
        deviceClass = try table.integer("class", in: Self.classes) ?? deviceClass
    }

    /// The lines of a topology file.
    var toml: [String] {
        [
            "bus = \"\(bus.rawValue)\"", "pci = \"\(address.map(String.init) ?? "")\"",
            "vendor = 0x\(hexadecimal(vendor, 4))", "device_id = 0x\(hexadecimal(deviceID, 4))",
            "class = 0x\(hexadecimal(deviceClass, 6))",
        ]
    }

    /// The free address of a device by its number: a domain of its own, bus 1. The other buses of a machine have lower
    /// buses of domain 0.
    static func freeAddress(ofDevice number: Int, taken: Set<PCIAddress>) -> PCIAddress {
        var places = (UInt8(1)...255).lazy.flatMap { bus in
            (UInt8(0)..<32).lazy.map { PCIAddress(domain: UInt16(number), bus: bus, device: $0) }
        }.filter { !taken.contains($0) }.makeIterator()
        // A machine has fewer devices than a domain has places.
        return places.next() ?? PCIAddress(domain: UInt16(number), bus: 0, device: 0)
    }
}

extension TopologyRules {
    func checkPCI(of node: NodeDescription, at index: Int, _ owners: inout [PCIAddress: Int]) throws(TopologyFault) {
        func fail(_ key: String, _ found: String, _ expected: String) throws(TopologyFault) -> Never {
            throw TopologyFault(place: .node(index: index, key: key), found: found, expected: expected)
        }
        guard let pci = node.pci else { return }
        guard node.kind == .coherent else { try fail("pci", "pci on a ram node", "this key on coherent nodes only") }
        for (key, value, range) in [
            ("vendor", pci.vendor, PCIDevice.vendors), ("device_id", pci.deviceID, PCIDevice.deviceIDs),
            ("class", pci.deviceClass, PCIDevice.classes),
        ] where !range.contains(value) {
            try fail(key, "\(key) \(value)", "an integer from \(range.lowerBound) to \(range.upperBound)")
        }
        guard let address = pci.address else { return }
        guard address.device < 32, address.function < 8 else {
            try fail("pci", "pci \(address)", "a device from 0 to 31 and a function from 0 to 7")
        }
        if let owner = owners.updateValue(node.id, forKey: address) {
            try fail("pci", "pci \(address), which node \(owner) has already", "a different address for each node")
        }
    }
}

/// A number in lowercase hexadecimal digits, at least `width` of them.
func hexadecimal(_ value: some BinaryInteger, _ width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}
