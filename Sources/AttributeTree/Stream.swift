public import SystemPackage

/// A file without a present text: it delivers events that happen while it is open.
public struct Stream: Sendable {
    /// The name of the file.
    public let name: String
    /// The mode of the file.
    public let permissions: FilePermissions
    /// A short summary.
    public let summary: String
    /// The size in stat(2), in bytes, as of an attribute.
    public let size = 4096
    /// The source of the events, of a type that the caller defines.
    public let source: any Sendable

    /// A stream; mode 0444 unless `permissions` says otherwise.
    public init(
        _ name: String, permissions: FilePermissions = [.ownerRead, .groupRead, .otherRead], summary: String = "",
        source: any Sendable
    ) {
        self.name = name
        self.permissions = permissions
        self.summary = summary
        self.source = source
    }
}
