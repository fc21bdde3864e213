import AttributeTree
import CoherentMemory
import LinuxSupport
import SystemPackage

/// Where the files of failures stand below sys/kernel/debug.
enum FailureTree {
    static func debugging(_ services: TreeServices) -> [Child] {
        let machine = services.machine
        return [
            .directory(
                "hwpoison",
                Directory(
                    permissions: .ownerReadWriteExecute,
                    [.attributes(HardwarePoisonAttributes.debugging, of: Subject(services, machine))])),
            .directory(
                "cdm",
                Directory(
                    permissions: .ownerReadWriteExecute,
                    [
                        .mortal(
                            .directory, list: { machine.devices.filter(\.isPresent).map(\.name) },
                            lookup: { name in
                                guard let device = machine.device(named: name), let lifetime = device.node.lifetime
                                else { return nil }
                                return (.directory(directory(of: device, services)), lifetime)
                            })
                    ])),
        ]
    }

    /// The children of a directory, for as long as a device can be reached.
    static func reachable(_ directory: Directory, over device: Device) -> [Child] {
        [Item.Kind.file, .directory, .link].map { kind in
            .mortal(
                kind,
                list: {
                    device.node.lifetime == nil ? [] : directory.entries.filter { $0.kind == kind }.map(\.name)
                },
                lookup: { name in
                    guard let lifetime = device.node.lifetime, let item = directory.lookup(name), item.kind == kind
                    else { return nil }
                    return (item, lifetime)
                })
        }
    }

    private static func directory(of device: Device, _ services: TreeServices) -> Directory {
        let subject = Subject(services, device)
        return Directory(
            identity: .init(device.node.incarnation), permissions: .ownerReadWriteExecute,
            [
                .attributes(FaultInjectionAttributes.table, of: subject),
                .directory(
                    "error_model",
                    Directory(
                        permissions: .ownerReadWriteExecute, [.attributes(ErrorModelAttributes.table, of: subject)])),
            ])
    }
}

extension Device {
    /// Until the device is removed; nil while it is.
    var lifetime: Lifetime? {
        let presence = presence
        return presence & 1 == 0 ? Lifetime { self.presence != presence } : nil
    }
}

extension TreeServices {
    /// Runs the error model of a device for as long as its rates are not 0.
    func runErrorModel(of device: Device) {
        guard device.errors.begin() else { return }
        let machine = machine
        let job = Job("errors") { cancellation throws(Errno) in
            try cancellation.withHandler({ device.wakeErrorModel() }) { () throws(Errno) in
                machine.runErrorModel(of: device) { cancellation.isCancelled }
            }
        }
        if !jobs.start(job, Cancellation(), done: { _ in }) { machine.runErrorModel(of: device) { true } }
    }
}
