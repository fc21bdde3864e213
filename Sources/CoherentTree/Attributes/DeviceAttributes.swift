import AttributeTree
import CoherentMemory
import MachineTopology
import SystemPackage

/// sys/class/cdm/cdmN.
enum DeviceAttributes {
    static let table: [Attribute<Subject<Device>>] = [
        .readOnly("numa_node", summary: "The node of the device's memory.") { "\($0.part.node.id)" },
        .readOnly("size", summary: "The size of the device's memory.") { "\($0.part.memory.size)" },
        .readWrite(
            "state", isPollable: true, summary: "The state of the device's memory as a whole.",
            show: { $0.part.state.rawValue },
            start: { subject, text throws(Errno) in
                let (machine, device) = (subject.machine, subject.part)
                if try text.keyword(of: ["online", "offline"]) == "online" {
                    return Job("device-online") { _ throws(Errno) in try machine.online(device) }
                }
                return Job(.offline, from: [device.node.id], subject: device.node) {
                    cancellation, account throws(Errno) in
                    try machine.offline(device, account: account) { cancellation.isCancelled }
                }
            }),
        removal,
    ]

    /// `remove`, which the PCI device has, too.
    static let removal = Attribute<Subject<Device>>.writeOnly(
        "remove",
        summary:
            "1: hot unplug, EBUSY unless the node is offline; force: offlines it first and kills processes that map unmovable pages.",
        start: { subject, text throws(Errno) in
            let (services, device) = (subject.services, subject.part)
            let isForced = try text.keyword(of: ["1", "force"]) == "force"
            return Job(.remove, from: [device.node.id]) { cancellation, account throws(Errno) in
                if isForced {
                    try services.removeByForce(device, account) { cancellation.isCancelled }
                } else {
                    try services.machine.remove(device) { cancellation.isCancelled }
                }
            }
        })
}

/// sys/class/cdm, and sys/bus/pci.
enum DeviceClassAttributes {
    static let table: [Attribute<Machine>] = [
        .writeOnly(
            "rescan", summary: "1: adds removed devices again, as new memory in the state of auto_online_blocks.",
            start: { machine, text throws(Errno) in
                _ = try text.keyword(of: ["1"])
                return Job("rescan") { _ throws(Errno) in try machine.rescan() }
            })
    ]
}

/// sys/class/cdm/cdmN/mem.
enum DeviceMemoryAttributes {
    static let table: [Attribute<Device>] = [
        figure("total", \.present, "Memory of online blocks, or of the driver."),
        figure("free", \.free, "The part that is free."),
        figure(
            "used", \.used, "The part that buffers, the device file, reserved huge pages and failed pages take."),
        figure("largest_free", \.largestFree, "The largest free block: a power of two of pages, aligned to its size."),
    ]

    private static func figure(
        _ name: String, _ figure: any KeyPath<DeviceMemoryUsage, Int> & Sendable, _ summary: String
    ) -> Attribute<Device> {
        .readOnly(name, summary: summary) { "\(UInt64($0.memoryUsage[keyPath: figure]) << 12)" }
    }
}

/// sys/class/cdm/cdmN/link.
enum LinkAttributes {
    static let table: [Attribute<Device>] = [
        figure("read_latency", \.readLatency, "Read latency in ns, 1 to 1000000000."),
        figure("write_latency", \.writeLatency, "Write latency in ns, 1 to 1000000000."),
        figure("read_bandwidth", \.readBandwidth, "Read bandwidth in MB/s, 1 to 1000000000."),
        figure("write_bandwidth", \.writeBandwidth, "Write bandwidth in MB/s, 1 to 1000000000."),
        .readWrite(
            "pace",
            summary: "off: the model only counts time; real: faults and copies take at least the modelled time.",
            show: { choices(selected: $0.pace) },
            store: { device, text throws(Errno) in device.pace = try text.keyword(as: LinkPace.self) }),
        .readWrite(
            "retrain", summary: "Nanoseconds that the link is down after an error, 0 to 100000000.",
            show: { "\($0.retraining)" },
            store: { device, text throws(Errno) in try device.setRetraining(try text.unsigned()) }),
        .readOnly("stalled_ns", summary: "Total time that errors kept the link down, in ns.") {
            "\($0.stalledNanoseconds)"
        },
        .readWrite(
            "on_loss", summary: "The signal for processes that map memory that is lost with the link.",
            show: { choices(selected: $0.onLoss) },
            store: { device, text throws(Errno) in device.onLoss = try text.keyword(as: LossPolicy.self) }),
        .readOnly("modelled_ns", summary: "Modelled time of faults and copies over the link, in ns.") {
            "\($0.modelledNanoseconds)"
        },
    ]

    /// What takes the mount, too.
    static let state: [Attribute<Subject<Device>>] = [
        .readWrite(
            "state", isPollable: true,
            summary: "Whether the link is up; down is a surprise removal: pages on the device are lost.",
            show: { $0.part.linkState.rawValue },
            start: { subject, text throws(Errno) in
                let (services, device) = (subject.services, subject.part)
                let state = try text.keyword(as: LinkState.self)
                return Job("link-\(state.rawValue)") { _ throws(Errno) in
                    switch state {
                    case .up: services.machine.restoreLink(of: device)
                    case .down: services.machine.cutLink(of: device) { services.reportLoss($0, of: device) }
                    }
                }
            })
    ]

    private static func figure(
        _ name: String, _ figure: any WritableKeyPath<Link, UInt64> & Sendable, _ summary: String
    ) -> Attribute<Device> {
        .readWrite(
            name, summary: summary, show: { "\($0.link[keyPath: figure])" },
            store: { device, text throws(Errno) in
                let value = try text.unsigned()
                try device.updateLink { $0[keyPath: figure] = value }
            })
    }
}
