import SystemPackage

/// The options of a mount.
public struct MountOptions: Sendable {
    /// The source that mount(8) and df(1) show.
    public var source = "cdmfs"
    /// The subtype: the type of the mount is `fuse.` and this word.
    public var subtype = "cdmfs"
    /// Whether users other than the one who mounts have access (`allow_other`).
    public var allowOther = false
    /// Whether the kernel checks permissions by mode, owner and group (`default_permissions`).
    public var defaultPermissions = true
    /// Further options of `-o`, one each: `ro`, `noatime`, `nosuid`, ….
    public var others: [String] = []
    /// How requests arrive from the kernel.
    public var transport = Transport.automatic
    /// The daemon's requests at INIT.
    public var connection = ConnectionOptions()

    /// The defaults given at each property.
    public init() {}

    /// The words for libfuse's option parser, which ends an option at a comma.
    var arguments: [String] {
        var options = ["fsname=" + source, "subtype=" + subtype]
        if allowOther { options.append("allow_other") }
        if defaultPermissions { options.append("default_permissions") }
        if let maxRead = connection.maxRead { options.append("max_read=\(UInt32(clamping: maxRead))") }
        options += others
        let escaped = options.map { option in
            option.replacing("\\", with: "\\\\").replacing(",", with: "\\,")
        }
        return ["cdmfs"] + escaped.flatMap { ["-o", $0] }
    }
}

/// The reason why a session could not be mounted, in one line.
public struct MountError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The errno of the failure, if there is one.
    public let errno: Errno?
    /// The line, without a full stop.
    public let reason: String

    init(_ errno: Errno?, _ reason: String) {
        self.errno = errno
        self.reason = reason.split(separator: "\n").joined(separator: "; ")
    }

    /// The line.
    public var description: String { reason }
}
