import SystemPackage

/// How a session is mounted.
public struct MountOptions: Sendable {
    /// What mount(8) and df(1) show as the source.
    public var source = "cdmfs"
    /// The type is `fuse.` and this.
    public var subtype = "cdmfs"
    /// Other users than the one who mounts get in (`allow_other`).
    public var allowOther = false
    /// The kernel checks permissions by mode, owner and group (`default_permissions`).
    public var defaultPermissions = true
    /// More options as `-o` has them, one each: `ro`, `noatime`, `nosuid`, ….
    public var others: [String] = []
    /// How requests come from the kernel.
    public var transport = Transport.automatic
    /// What is asked of the kernel at INIT.
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

/// Why a session could not be mounted, in one line.
public struct MountError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The errno behind it, where one is known.
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
