import AttributeTree
import CoherentMemory
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// What an attribute table of the tree speaks of: a part of the machine, and the mount it is seen through.
package struct Subject<Part: Sendable>: Sendable {
    let services: TreeServices
    let part: Part

    var machine: Machine { services.machine }

    package init(_ services: TreeServices, _ part: Part) {
        self.services = services
        self.part = part
    }
}

/// The sys/ tree: the attribute tables put in their places.
package struct SystemTree {
    package let root: Directory

    package init(services: TreeServices, buffers: any BufferFolder) {
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
                ] + PCITree.roots(services) + CXLTree.platform(services)),
            .directory("bus", BusTree.buses(services)),
            .directory("module", DAXTree.modules),
            .directory(
                "dev", [.directory("char", [.directory("0:0", [.link("subsystem", target: "../../../bus/dax")])])]),
            .directory(
                "class",
                [.directory("cdm", Self.devices(services))]),
            .directory(
                "fs", [.directory("cgroup", ControlGroupTree.directory(of: services.machine.rootGroup, services))]),
            .directory(
                "kernel",
                [
                    .directory(
                        "debug",
                        Directory(
                            permissions: .ownerReadWriteExecute,
                            [.attributes(TaskAttributes.debugging, of: services)]
                                + FailureTree.debugging(services) + CXLTree.debugging(services))),
                    .directory("mm", MemoryManagementTree.directory(services)),
                    .directory(
                        "cdm",
                        [
                            .attributes(MountAttributes.table, of: ()),
                            .attributes(TaskAttributes.table, of: services),
                            .attributes([ProgramAttributes.programs], of: services),
                            .attributes([LastErrors.attribute], of: services),
                            .attributes(JobAttributes.table, of: services),
                            .attributes(PressureAttributes.table, of: services.machine),
                            .attribute(MachineMetrics.attribute) { MetricsReader(services, $0) },
                            .attributes([MachineMetrics.machine], of: services.machine),
                            .attribute(BufferListing.attribute) { BufferListing(services, $0) },
                            .attributes(HostNodeAttributes.table, of: services.machine),
                            .attributes(HardwarePoisonAttributes.table, of: services.machine),
                            PressureAttributes.directory(services),
                            ProcTree.directory(services),
                            TaskTree.directory(services),
                            .attribute(NumaMapsQuestion.attribute) { _ in NumaMapsQuestion(services) },
                            .stream(UeventLog.stream(services.uevents)),
                            TraceAttributes.directory(services),
                            .directory("buffers", Self.controls(of: buffers, services)),
                        ]),
                ]),
        ])
    }

    private static func nodes(_ services: TreeServices) -> [Child] {
        let access = NodeAccess(services.machine)
        return [.attributes(NodeListAttributes.table, of: services.machine)]
            + SystemDevice("/devices/system/node").children(services)
            + [
                .mortal(
                    .directory, list: { services.machine.presentNodes.map { "node\($0.id)" } },
                    lookup: { name in
                        guard let node = services.machine.node(named: name), let lifetime = node.lifetime else {
                            return nil
                        }
                        return (
                            .directory(
                                Directory(identity: .init(node.incarnation), Self.node(node, access, services))),
                            lifetime
                        )
                    })
            ]
    }

    private static func node(_ node: CoherentMemory.Node, _ access: NodeAccess, _ services: TreeServices) -> [Child] {
        let subject = Subject(services, node)
        var children: [Child] = [
            .attributes(NodeAttributes.table, of: subject), .attributes(ReclaimAttributes.table, of: subject),
            HugePageAttributes.directory(of: subject),
        ]
        children += SystemDevice(node: node).children(services)
        children += NodeLinks.children(of: node, services) + AccessTree.children(of: node, access, services)
        children.append(.directory("memory_failure", [.attributes(MemoryFailureAttributes.table, of: node)]))
        children += MemorySideCacheTree.children(of: node, services)
        if node.kind == .coherent {
            children.append(
                .directory(
                    "cdm",
                    [
                        .attributes(CoherentNodeAttributes.table, of: subject),
                        .attribute(BlockerListing.attribute) { BlockerListing(services, node, $0) },
                    ] + NodeLinks.device(of: node, services)))
        }
        return children
    }

    private static func memory(_ services: TreeServices) -> [Child] {
        let machine = services.machine
        return [
            .attributes(MemoryAttributes.table, of: Subject(services, machine)),
            .mortal(
                .directory, list: { machine.blockNumbers.map { "memory\($0)" } },
                lookup: { name in
                    guard let block = machine.block(named: name) else { return nil }
                    return (
                        .directory(
                            Directory(
                                identity: .init(block.incarnation),
                                [
                                    .attributes(MemoryBlockAttributes.table, of: Subject(services, block)),
                                    .link("node\(block.node.id)", target: "../../node/node\(block.node.id)"),
                                ] + SystemDevice(block: block).children(services))), block.lifetime
                    )
                }),
        ] + SystemDevice("/devices/system/memory").children(services)
    }

    private static func devices(_ services: TreeServices) -> [Child] {
        let machine = services.machine
        return [
            .attributes(DeviceClassAttributes.table, of: machine),
            .mortal(
                .directory, list: { machine.devices.filter { $0.lifetime != nil }.map(\.name) },
                lookup: { name in
                    guard let device = machine.device(named: name), let lifetime = device.lifetime else {
                        return nil
                    }
                    return (
                        .directory(Directory(identity: .init(device.presence), Self.device(device, services))),
                        lifetime
                    )
                }),
        ]
    }

    /// A device whose link was cut is there, but nothing of it but the link and what was counted.
    private static func device(_ device: Device, _ services: TreeServices) -> [Child] {
        [
            .directory(
                "link",
                [
                    .attributes(LinkAttributes.table, of: device),
                    .attributes(LinkAttributes.state, of: Subject(services, device)),
                ]),
            .directory("ras", [.attributes(ErrorCountAttributes.table, of: device)]),
        ] + FailureTree.reachable(Directory(reachable(device, services)), over: device)
    }

    private static func reachable(_ device: Device, _ services: TreeServices) -> [Child] {
        [
            .attributes(DeviceAttributes.table, of: Subject(services, device)),
            .directory("mem", [.attributes(DeviceMemoryAttributes.table, of: device)]),
            .directory("dma", [.attributes(CopyEngineAttributes.table, of: device)]),
            .directory("queue", [.attributes(QueueAttributes.table, of: Subject(services, device))]),
            .directory("mmu", [.attributes(DeviceMMUAttributes.table, of: device)]),
            .directory("lru", [.attributes(DeviceLRUAttributes.table, of: device)]),
            .directory("buffer", controls(of: device.memory, services)),
        ] + services.faces.filter { $0.device === device }.map { .link("device", target: "../../..\($0.pciPath)") }
    }

    /// The controls of a buffer, which belong to whom its file belongs to.
    private static func controls(
        of buffer: Buffer, identity: Directory.Identity? = nil, _ services: TreeServices
    ) -> Directory {
        let subject = Subject(services, buffer)
        return Directory(
            identity: identity,
            ownership: {
                // One without a file is not to be seen any more.
                services.files.ownership(of: buffer)
                    ?? Directory.Ownership(permissions: .ownerReadWriteExecute, uid: owner.uid, gid: owner.gid)
            },
            [.attributes(BufferAttributes.table, of: subject), .attributes(BufferFailureAttributes.table, of: subject)])
    }

    /// The control directories, which follow the names below buffers/, and are no more open than what they control.
    private static func controls(of folder: any BufferFolder, _ services: TreeServices) -> Directory {
        Directory(
            identity: .init(ControlledFile(inode: folder.inode)), ownership: { folder.ownership },
            [
                .dynamic(
                    places: .init(
                        last: { folder.lastPlace ?? 0 },
                        list: { places in
                            folder.names(at: places).map { ($0.place, $0.name, .directory) }
                        }, countDirectories: { folder.controlledCount }),
                    lookup: { name in
                        switch folder.entry(named: name) {
                        case .folder(let child): .directory(controls(of: child, services))
                        case .buffer(let buffer, let inode):
                            .directory(controls(of: buffer, identity: .init(ControlledFile(inode: inode)), services))
                        case nil: nil
                        }
                    })
            ])
    }
}

/// Figures of the mount itself: sys/kernel/cdm.
enum MountAttributes {
    static let table: [Attribute<Void>] = [
        .readOnly(
            "pid", summary: "The process that serves the mount.",
            showForClient: { _, client in
                "\(TaskNumbers(for: client)[getpid()])"
            })
    ]
}
