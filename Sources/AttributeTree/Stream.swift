public import SystemPackage

/// A file that has no text of the moment but delivers what happens while it is open.
public struct Stream: Sendable {
    /// The name of the file.
    public let name: String
    /// Who may read it.
    public let permissions: FilePermissions
    /// What it is, in a few words.
    public let summary: String
    /// The size that stat(2) shows, in bytes, as of an attribute.
    public let size = 4096
    /// Where it comes from; whoever serves the tree knows what it is.
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
