import AttributeTree
import CoherentMemory
import Fuse
import Glibc
import SystemPackage

/// What an attribute table of the tree speaks of: a part of the machine, and the mount it is seen through.
struct Subject<Part: Sendable>: Sendable {
    let services: Services
    let part: Part

    var machine: Machine { services.machine }

    init(_ services: Services, _ part: Part) {
        self.services = services
        self.part = part
    }
}

/// The sys/ tree: the attribute tables put in their places.
struct SystemTree {
    let root: Directory

    init(services: Services, buffers: BufferDirectory) {
        let machine = services.machine
        root = Directory([
            .directory(
                "devices",
                [
                    .directory(
                        "system",
                        [
                            .directory("node", Self.nodes(services)),
                            .directory("memory", Self.memory(services)),
                            .directory("cpu", CPUTree.directory(services)),
                        ]),
                    .directory("virtual", [.directory("memory_tiering", MemoryTiers.directory(services))]),
                ]),
            .directory("bus", BusTree.buses(services)),
            .directory(
                "class",
                [.directory("cdm", machine.devices.map { .directory($0.name, Self.device($0, services)) })]),
            .directory(
                "fs", [.directory("cgroup", ControlGroupTree.directory(of: machine.rootGroup, services))]),
            .directory(
                "kernel",
                [
                    .directory(
                        "debug",
                        Directory(
                            permissions: .ownerReadWriteExecute,
                            [.attributes(TaskAttributes.debugging, of: services)])),
                    .directory("mm", MemoryManagementTree.directory(services)),
                    .directory(
                        "cdm",
                        [
                            .attributes(MountAttributes.table, of: ()),
                            .attributes(TaskAttributes.table, of: services),
                            .attribute(NumaMapsQuestion.attribute) { NumaMapsQuestion(services) },
                            .stream(UeventLog.stream(services.uevents)),
                            .directory("buffers", Self.controls(of: buffers, services)),
                        ]),
                ]),
        ])
    }

    private static func nodes(_ services: Services) -> [Child] {
        let access = Access(services.machine)
        return [.attributes(NodeListAttributes.table, of: services.machine)]
            + SystemDevice("/devices/system/node").children(services)
            + services.machine.nodes.map { .directory("node\($0.id)", Self.node($0, access, services)) }
    }

    private static func node(_ node: CoherentMemory.Node, _ access: Access, _ services: Services) -> [Child] {
        let subject = Subject(services, node)
        var children: [Child] = [.attributes(NodeAttributes.table, of: subject)]
        children += SystemDevice(node: node).children(services)
        children += NodeLinks.children(of: node, services) + AccessTree.children(of: node, access, services)
        if node.kind == .coherent {
            children.append(
                .directory(
                    "cdm",
                    [.attributes(CoherentNodeAttributes.table, of: subject)] + NodeLinks.device(of: node, services)))
        }
        return children
    }

    private static func memory(_ services: Services) -> [Child] {
        let machine = services.machine
        return [
            .attributes(MemoryAttributes.table, of: Subject(services, machine)),
            .lasting(
                .directory, list: { (0..<machine.blockCount).map { "memory\($0)" } },
                lookup: { name in
                    guard let block = machine.block(named: name) else { return nil }
                    return .directory(
                        Directory(
                            identity: .init(block.number),
                            [
                                .attributes(MemoryBlockAttributes.table, of: Subject(services, block)),
                                .link("node\(block.node.id)", target: "../../node/node\(block.node.id)"),
                            ] + SystemDevice(block: block).children(services)))
                }),
        ] + SystemDevice("/devices/system/memory").children(services)
    }

    private static func device(_ device: Device, _ services: Services) -> [Child] {
        [
            .attributes(DeviceAttributes.table, of: Subject(services, device)),
            .directory("buffer", [.attributes(BufferAttributes.table, of: Subject(services, device.memory))]),
        ]
    }

    /// The control directories, which follow the names below buffers/.
    private static func controls(of directory: BufferDirectory, _ services: Services) -> Directory {
        Directory(
            identity: .init(directory.number),
            [
                .dynamic(
                    list: { directory.names.map(\.string) },
                    lookup: { name in
                        switch directory.lookup(FileName(name)) {
                        case let child as BufferDirectory: .directory(controls(of: child, services))
                        case let file as BufferFile:
                            .directory(
                                Directory(
                                    identity: .init(file.number),
                                    [.attributes(BufferAttributes.table, of: Subject(services, file.buffer))]))
                        default: nil
                        }
                    })
            ])
    }
}

/// Figures of the mount itself: sys/kernel/cdm.
enum MountAttributes {
    static let table: [Attribute<Void>] = [
        .readOnly("pid", summary: "The process that serves the mount.") { _ in "\(getpid())" }
    ]
}
