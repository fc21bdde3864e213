import CoherentMemory

extension Uevent {
    /// The event of a failure of memory.
    ///
    /// - Parameter buffer: the name of the buffer whose page it is, if it is one's.
    init(_ failure: PageFailure, device: String?, buffer: String?) {
        var details = [("CDM_EVENT", failure.kind.rawValue), ("ADDRESS", hex(failure.physicalAddress))]
        if failure.kind == .correctable { details.append(("COUNT", "\(failure.count)")) }
        if let buffer { details += [("BUFFER", buffer), ("OFFSET", hex(failure.offset))] }
        if let device {
            self.init(action: "change", path: "/class/cdm/\(device)", subsystem: "cdm", details: details)
        } else {
            self.init(
                action: "change", path: "/devices/system/node/node\(failure.node)", subsystem: "node", details: details)
        }
    }
}

extension Services {
    /// Tells of a failure of memory, with the name of the buffer that has the page.
    func tell(_ failure: PageFailure) {
        let device = machine.devices.first { $0.node.id == failure.node }?.name
        let buffer = failure.buffer.map(name)
        uevents.post { Uevent(failure, device: device, buffer: buffer) }
    }

    /// Tells of errors of a link.
    func tell(ofLinkErrors count: UInt64, device: String) {
        uevents.post {
            Uevent(
                action: "change", path: "/class/cdm/\(device)", subsystem: "cdm",
                details: [("CDM_EVENT", "link_error"), ("COUNT", "\(count)")])
        }
    }

    /// The name of a buffer as in `blockers`.
    func name(of buffer: Buffer.ID) -> String {
        if let device = machine.devices.first(where: { $0.memory.id == buffer }) { return "/dev/\(device.name)" }
        return buffers.withLock({ $0.directory })?.files().first { $0.file.buffer.id == buffer }?.path ?? "(deleted)"
    }
}
