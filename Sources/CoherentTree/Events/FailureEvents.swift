import CoherentMemory
import LinuxSupport

extension Uevent {
    /// The event of a failure of memory.
    ///
    /// - Parameter buffer: the name of the buffer whose page it is, if it is one's.
    init(_ failure: PageFailure, device: String?, buffer: Value?) {
        var details: [Detail] = [
            ("CDM_EVENT", .text(failure.kind.rawValue)), ("ADDRESS", .text(hex(failure.physicalAddress))),
        ]
        if failure.kind == .correctable { details.append(("COUNT", .text("\(failure.count)"))) }
        if let buffer { details += [("BUFFER", buffer), ("OFFSET", .text(hex(failure.offset)))] }
        if let device {
            self.init(action: "change", place: .text("/class/cdm/\(device)"), subsystem: "cdm", details: details)
        } else {
            self.init(
                action: "change", place: .text("/devices/system/node/node\(failure.node)"), subsystem: "node",
                details: details)
        }
    }
}

extension TreeServices {
    /// Tells of a failure of memory, with the name of the buffer that has the page.
    func tell(_ failure: PageFailure) {
        let device = machine.devices.first { $0.node.id == failure.node }?.name
        let buffer = failure.buffer.map { files.name(of: $0) }
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
}
