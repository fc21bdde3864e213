import AttributeTree
import CoherentMemory
import CoherentTree
import Fuse
import LinuxSupport
import Logging
import SystemPackage

/// A write to a control, until its answer: the writer can read in last_error why it was refused.
struct ControlWrite: Sendable {
    /// The file that was written to.
    enum Place: Sendable {
        /// A file of sys/.
        case tree(TreeInode)
        /// A control of a file as its extended attribute `user.cdm.NAME`.
        case attribute(String, of: Inode)
    }

    let services: Services
    let client: Client
    let place: Place
    /// What was written; empty for a file that was to be opened for writing.
    let bytes: [UInt8]
    /// Noted by the store, or by its job.
    let reason = ErrorReason()

    /// Tells of a refusal, before it is answered.
    func refused(_ error: Errno) {
        let (path, page) =
            switch place {
            case .tree(let inode): Self.names(of: services.treePath(of: inode))
            case .attribute(let name, let inode):
                ("\(services.filePath(of: inode)) user.cdm.\(name)", Manual.page(ofControl: name))
            }
        let sentence = Self.sentence(error, reason, page)
        let value = bytes.isEmpty ? "" : " \(Self.value(bytes))"
        let line = "\(Self.shortened(path))\(value) \(error.name): \(sentence)."
        services.logger.debug("refused a write of task \(client.task): \(line)")
        let processes = services.processes
        guard client.task > 0, let process = processes.process(of: client.task) else { return }
        services.base.lastErrors.note(line, of: process, user: client.user) { processes.identity(of: $0.id) == $0 }
    }

    private static func names(of path: [String]) -> (String, ManualPage?) {
        (path.joined(separator: "/"), Manual.page(of: path))
    }

    /// The reason that was noted; or else the one that the reference has for this errno of the file, with the format where the
    /// format may be what is wrong; or else what the errno means of any control.
    static func sentence(_ error: Errno, _ reason: ErrorReason, _ page: ManualPage?) -> String {
        if let clause = reason.clause(of: error) { return clause }
        let documented = page?.errors.first { $0.key == error.name }?.value
        let clause = documented ?? general[error] ?? "\(error)".lowercasedStart
        guard error == .invalidArgument, let writes = page?.writes, !writes.isEmpty else { return clause }
        return "\(clause); expected: \(writes)"
    }

    /// What an errno means wherever a page says nothing of it.
    private static let general: [Errno: String] = [
        .invalidArgument: "the text is malformed",
        .outOfRange: "a number is out of range",
        .permissionDenied: "the file cannot be written",
        .notPermitted: "the writer may not do this",
        .resourceBusy: "it is in use, or another change is in progress",
        .resourceTemporarilyUnavailable: "too many jobs of the user, or of all users, run already",
        .diskQuotaExceeded: "a limit of the user is reached",
        .operationNotSupportedByDevice: "what the file controls is gone",
        .interrupted: "the write was interrupted",
        .noMemory: "no memory is available",
        .noSpace: "no memory is available",
        .timedOut: "the address space of a task stays locked",
        .noSuchProcess: "there is no such task",
    ]

    /// The text in quotes, shortened.
    private static func value(_ bytes: [UInt8]) -> String {
        let text = String(decoding: bytes.prefix(512), as: UTF8.self)
        return ErrorReason.quoted(text.hasSuffix("\n") && bytes.count <= 512 ? String(text.dropLast()) : text)
    }

    /// The end of a path, where it is long.
    private static func shortened(_ path: String) -> String {
        let limit = 256
        let scalars = path.unicodeScalars
        let end = scalars.count > limit ? "…" + String(scalars.suffix(limit)) : path
        return end.unicodeScalars.map {
            $0.properties.generalCategory == .control ? $0.escaped(asASCII: true) : String($0)
        }
        .joined()
    }
}

extension Manual {
    /// The page of a file of sys/ by its path; nil if it has none.
    static func page(of path: [String]) -> ManualPage? {
        guard let name = path.last else { return nil }
        var directory = path.dropLast().map(Placeholder.general)
        // What stands below these has names of its own.
        for (place, free) in [("sys/kernel/cdm/buffers", Placeholder.buffer), ("sys/fs/cgroup", Placeholder.group)] {
            let parts = place.split(separator: "/").map(String.init)
            if directory.count > parts.count, directory.starts(with: parts) { directory = parts + [free] }
        }
        let general = Placeholder.general(name)
        return chapters(for: directory.joined(separator: "/")).lazy.compactMap { $0.pages[general] }.first
    }

    /// The page of a control of a buffer.
    static func page(ofControl name: String) -> ManualPage? {
        page(of: ["sys", "kernel", "cdm", "buffers", Placeholder.buffer, name])
    }
}

extension Services {
    /// The path of a file of sys/, as far as the kernel knows the directories above it.
    fileprivate func treePath(of inode: TreeInode) -> [String] {
        var path = [inode.name.string]
        var parent = inode.parentNumber
        while let above = inodes[parent] as? TreeInode {
            path.append(above.name.string)
            parent = above.parentNumber
        }
        return path.reversed()
    }

    /// The path of a file with memory, from the mount point.
    fileprivate func filePath(of inode: Inode) -> String {
        switch inode {
        case let device as DeviceFile: String(device.path.dropFirst())
        case let file as BufferFile: "buffers/\(path(of: file).map(\.text) ?? BufferPath.deleted)"
        default: ""
        }
    }
}

extension String {
    /// The text with its first letter in lower case.
    fileprivate var lowercasedStart: String { prefix(1).lowercased() + dropFirst() }
}
