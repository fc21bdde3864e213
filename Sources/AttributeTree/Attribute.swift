import LinuxSupport
public import SystemPackage

/// One attribute file of a kind of subject: its name, one show and one store, as a line of a table.
///
/// The counterpart of Linux's `struct device_attribute` with `DEVICE_ATTR_RO`, `_RW` and `_WO`. The mode follows from
/// which of the two is present: 0444, 0644 or 0200.
///
/// ```swift
/// static let attributes: [Attribute<Node>] = [
///     .readOnly("cpulist", summary: "the CPUs of the node, a list") { node in "\(node.cpus)" },
///     .readWrite("kind", summary: "what the node's memory is",
///                show: { node in choices(of: Kind.self, selected: node.kind) },
///                store: { node, text throws(Errno) in try node.setKind(text.keyword()) }),
/// ]
/// ```
public struct Attribute<Subject: Sendable>: Sendable {
    /// Makes the text of a subject's attribute, without the newline at its end.
    public typealias Show = @Sendable (Subject) throws(Errno) -> String

    /// As ``Show``, for a text that depends on the reader, such as task numbers.
    public typealias ShowForClient = @Sendable (Subject, Client) throws(Errno) -> String

    /// Makes some records of a subject's attribute for a reader, starting at a key, which is 0 at the start; none at
    /// the end. The caller takes as many as fit, and asks for the others again.
    public typealias Records = @Sendable (Subject, UInt64, Client) throws(Errno) -> [TextRecord]

    /// Makes the bytes of a subject's attribute that is no text.
    public typealias Bytes = @Sendable (Subject) throws(Errno) -> [UInt8]

    /// Parses, validates and acts. A store that throws changes nothing.
    public typealias Store = @Sendable (Subject, AttributeText) throws(Errno) -> Void

    /// Parses and validates at once, and returns the remaining work, which takes long.
    public typealias Start = @Sendable (Subject, AttributeText) throws(Errno) -> Job

    /// What a read shows.
    enum Content: Sendable {
        case text(ShowForClient)
        case bytes(count: Int, Bytes)
        case records(Records)
    }

    /// What a write does.
    enum Action: Sendable {
        case store(Store)
        case start(Start)
    }

    /// The name of the file.
    public let name: String

    /// The mode of the file.
    public let permissions: FilePermissions

    /// Whether poll(2) reports changes of its content, as with `sysfs_notify()`.
    public let isPollable: Bool

    /// A short summary for the reference page.
    public let summary: String

    /// Whether the text is shown unchanged, so that an empty text is an empty file. Otherwise it ends in a newline.
    private(set) var isVerbatim = false

    /// Whether a show may have to wait for programs. It then runs in a job, not on the thread that took the read.
    public private(set) var showsInJob = false

    /// Whether its content changes all the time while work is in progress. poll(2) then reports changes at a limited
    /// rate.
    public private(set) var changesSteadily = false

    /// Whether it belongs to the user who mounts, regardless of the owner of its subject.
    public private(set) var isAdministrative = false

    let content: Content?
    let action: Action?

    init(
        _ name: String, _ permissions: FilePermissions?, _ isPollable: Bool, _ summary: String, _ content: Content?,
        _ action: Action?
    ) {
        self.name = name
        self.isPollable = isPollable
        self.summary = summary
        self.content = content
        self.action = action
        if case .records? = content { isVerbatim = true }
        let readable: FilePermissions = content == nil ? [] : [.ownerRead, .groupRead, .otherRead]
        self.permissions = permissions ?? readable.union(action == nil ? [] : .ownerWrite)
    }

    /// An attribute that can be read, mode 0444 unless `permissions` says otherwise.
    public static func readOnly(
        _ name: String, permissions: FilePermissions? = nil, isPollable: Bool = false, summary: String = "",
        show: @escaping Show
    ) -> Attribute {
        Attribute(name, permissions, isPollable, summary, .text { subject, _ throws(Errno) in try show(subject) }, nil)
    }

    /// An attribute that can be read and whose text depends on the reader.
    public static func readOnly(
        _ name: String, permissions: FilePermissions? = nil, isPollable: Bool = false, summary: String = "",
        showForClient show: @escaping ShowForClient
    ) -> Attribute {
        Attribute(name, permissions, isPollable, summary, .text(show), nil)
    }

    /// An attribute that can be read and is no text (a `bin_attribute`): always `count` bytes, which its size tells; mode
    /// 0444 unless `permissions` says otherwise.
    public static func binary(
        _ name: String, count: Int, permissions: FilePermissions? = nil, summary: String = "",
        bytes: @escaping Bytes
    ) -> Attribute {
        Attribute(name, permissions, false, summary, .bytes(count: count, bytes), nil)
    }

    /// An attribute with a long text, which is made record by record as it is read; mode 0444 unless `permissions` says
    /// otherwise. It is shown verbatim.
    public static func readOnly(
        _ name: String, permissions: FilePermissions? = nil, summary: String = "", records: @escaping Records
    ) -> Attribute {
        Attribute(name, permissions, false, summary, .records(records), nil)
    }

    /// An attribute that can be written and has a long text; mode 0644 unless `permissions` says otherwise. poll(2) reports
    /// changes of the part that the first read got.
    public static func readWrite(
        _ name: String, permissions: FilePermissions? = nil, isPollable: Bool = false, summary: String = "",
        records: @escaping Records, store: @escaping Store
    ) -> Attribute {
        Attribute(name, permissions, isPollable, summary, .records(records), .store(store))
    }

    /// An attribute whose write starts a job and that has a long text; mode 0644 unless `permissions` says otherwise.
    public static func readWrite(
        _ name: String, permissions: FilePermissions? = nil, summary: String = "", records: @escaping Records,
        start: @escaping Start
    ) -> Attribute {
        Attribute(name, permissions, false, summary, .records(records), .start(start))
    }

    /// An attribute that can be read and written, mode 0644 unless `permissions` says otherwise.
    public static func readWrite(
        _ name: String, permissions: FilePermissions? = nil, isPollable: Bool = false, summary: String = "",
        show: @escaping Show, store: @escaping Store
    ) -> Attribute {
        Attribute(
            name, permissions, isPollable, summary, .text { subject, _ throws(Errno) in try show(subject) },
            .store(store))
    }

    /// An attribute that can be read and whose write starts a job, mode 0644 unless `permissions` says otherwise.
    public static func readWrite(
        _ name: String, permissions: FilePermissions? = nil, isPollable: Bool = false, summary: String = "",
        show: @escaping Show, start: @escaping Start
    ) -> Attribute {
        Attribute(
            name, permissions, isPollable, summary, .text { subject, _ throws(Errno) in try show(subject) },
            .start(start))
    }

    /// An attribute that can be written only, mode 0200 unless `permissions` says otherwise.
    public static func writeOnly(
        _ name: String, permissions: FilePermissions? = nil, summary: String = "", store: @escaping Store
    ) -> Attribute {
        Attribute(name, permissions, false, summary, nil, .store(store))
    }

    /// An attribute whose write starts a job, mode 0200 unless `permissions` says otherwise.
    public static func writeOnly(
        _ name: String, permissions: FilePermissions? = nil, summary: String = "", start: @escaping Start
    ) -> Attribute {
        Attribute(name, permissions, false, summary, nil, .start(start))
    }

    /// The same attribute with a show that runs in a job, because it may take long.
    public func shownInJob() -> Attribute {
        var attribute = self
        attribute.showsInJob = true
        return attribute
    }

    /// The same attribute, owned by the user who mounts, regardless of the owner of its subject.
    public func administrative() -> Attribute {
        var attribute = self
        attribute.isAdministrative = true
        return attribute
    }

    /// The same attribute with a limited rate of poll(2) reports, because it changes all the time.
    public func changingSteadily() -> Attribute {
        var attribute = self
        attribute.changesSteadily = true
        return attribute
    }

    /// The same attribute with its text shown unchanged, as `uevent` needs: an empty text is an empty file.
    public func verbatim() -> Attribute {
        var attribute = self
        attribute.isVerbatim = true
        return attribute
    }
}
