import AttributeTree
import CoherentMemory
import LinuxSupport
import Synchronization
import SystemPackage

/// A device of the driver core: what the directory of a node, a memory block or a CPU has whatever it is
/// (drivers/base/core.c).
struct SystemDevice: Sendable {
    /// Its place below sys/, with a slash in front: the DEVPATH of its events.
    let path: String
    /// The bus that it is on; nil for the directory that holds the devices of one.
    let bus: String?
    /// Whether it has a state of suspension; the power/ directory of one that has not is empty
    /// (pm_runtime_no_callbacks()).
    let isPowerManaged: Bool
    /// The variables of its events beyond those of every event, and what `uevent` shows.
    let variables: @Sendable () -> [(name: String, value: String)]

    init(
        _ path: String, bus: String? = nil, isPowerManaged: Bool = true,
        variables: @escaping @Sendable () -> [(name: String, value: String)] = { [] }
    ) {
        self.path = path
        self.bus = bus
        self.isPowerManaged = isPowerManaged
        self.variables = variables
    }

    init(node: CoherentMemory.Node) { self.init("/devices/system/node/node\(node.id)", bus: "node") }

    init(block: MemoryBlock) { self.init("/devices/system/memory/memory\(block.number)", bus: "memory") }

    init(cpu: Int) { self.init("/devices/system/cpu/cpu\(cpu)", bus: "cpu") }

    /// The files that every device has.
    func children(_ services: TreeServices) -> [Child] {
        let subject = Subject(services, self)
        var children: [Child] = [
            .attributes(DeviceFileAttributes.table, of: subject),
            .directory("power", isPowerManaged ? [.attributes(PowerAttributes.table, of: subject)] : []),
        ]
        if let bus { children.append(.link("subsystem", target: "\(ascent)bus/\(bus)")) }
        return children
    }

    /// The name of its directory.
    var name: String { String(path.split(separator: "/").last ?? "") }

    /// The way from the device's directory up to sys/.
    var ascent: String {
        String(repeating: "../", count: path.utf8.count { $0 == UInt8(ascii: "/") })
    }
}

/// The files of a device itself.
enum DeviceFileAttributes {
    static let table: [Attribute<Subject<SystemDevice>>] = [
        Attribute.readWrite(
            "uevent",
            summary: "The variables of the device's events; a write sends an event.",
            show: { subject in subject.part.variables().map { "\($0.name)=\($0.value)\n" }.joined() },
            store: { subject, text throws(Errno) in
                var event = try Uevent(synthetic: text, path: subject.part.path, subsystem: subject.part.bus ?? "")
                // As in Linux, what is on no bus is not spoken of.
                guard subject.part.bus != nil else { return }
                event.details += subject.part.variables().map { ($0.name, .text($0.value)) }
                let told = event
                subject.services.uevents.post { told }
                subject.services.uevents.deliver()
            }
        ).verbatim()
    ]
}

/// The power/ directory of a device (drivers/base/power/sysfs.c).
///
/// `autosuspend_delay_ms` is left out: such devices do not suspend, so that Linux answers each read of it with EIO,
/// which a program that reads a whole tree would have to expect.
enum PowerAttributes {
    static let table: [Attribute<Subject<SystemDevice>>] = [
        .readWrite(
            "control", summary: "Whether the device may be suspended while the machine runs.",
            show: { $0.services.power.isHeldOn($0.part.path) ? "on" : "auto" },
            store: { subject, text throws(Errno) in
                let word = try text.keyword(of: ["auto", "on"])
                subject.services.power.hold(subject.part.path, on: word == "on")
            }),
        .readOnly("runtime_active_time", summary: "Milliseconds in use; 0 for a device that does not suspend.") { _ in
            "0"
        },
        .readOnly("runtime_status", summary: "The state of suspension: unsupported.") { _ in
            "unsupported"
        },
        .readOnly("runtime_suspended_time", summary: "Milliseconds in suspension.") { _ in "0" },
    ]
}

/// Which devices were asked to stay powered.
final class PowerControls: Sendable {
    private let paths = Mutex<Set<String>>([])

    /// What has gone comes back as new.
    ///
    /// - Parameter faces: the paths of what goes with a node.
    func note(_ event: MachineEvent, faces: (Int) -> [String]) {
        switch event {
        case .blockRemoved(let number): hold("/devices/system/memory/memory\(number)", on: false)
        case .nodeRemoved(let id):
            hold("/devices/system/node/node\(id)", on: false)
            for path in faces(id) { hold(path, on: false) }
        default: break
        }
    }

    func isHeldOn(_ path: String) -> Bool { paths.withLock { $0.contains(path) } }

    func hold(_ path: String, on isOn: Bool) {
        paths.withLock { if isOn { _ = $0.insert(path) } else { _ = $0.remove(path) } }
    }
}
