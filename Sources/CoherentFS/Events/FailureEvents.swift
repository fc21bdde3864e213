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

    /// The name of a buffer as in `blockers`: a path below buffers/, `/dev/cdmN`, or `(deleted)` where it has none.
    func name(of buffer: Buffer.ID) -> Uevent.Value {
        switch files.withLock({ $0[buffer]?.file }) {
        case let device as DeviceFile: .text(device.path)
        case let file as BufferFile: path(of: file).map { .buffer($0) } ?? .text(BufferPath.deleted)
        default: .text(BufferPath.deleted)
        }
    }

    /// Where a file below buffers/ stands; nil where it has no name any more.
    func path(of file: BufferFile) -> BufferPath? {
        namespace.withLock { _ in
            guard let place = file.place, let directory = place.directory else { return nil }
            return directory.path(of: file, under: place.name)
        }
    }
}
