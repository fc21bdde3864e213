public import SystemPackage

/// What became of a write to an attribute.
public enum StoreOutcome: Sendable {
    /// It has been done.
    case done
    /// It was accepted; this work is left. The write is answered when the work has ended, with its error if it threw.
    case job(Job)
}

/// An attribute of one subject: a file that can be shown and stored.
public struct BoundAttribute: Sendable {
    /// The name of the file.
    public let name: String
    /// Who may read and write it.
    public let permissions: FilePermissions
    /// Whether a change of its content is announced to poll(2).
    public let isPollable: Bool
    /// What it is, in a few words.
    public let summary: String
    /// The size that stat(2) shows, in bytes: one page, whatever the content, as in sysfs.
    public let size = 4096

    /// Whether a write may take long, for it starts a ``Job``.
    public let startsJob: Bool

    /// Whether a read may take long, too.
    public let showsInJob: Bool

    /// Whether poll(2) tells of a change only now and then, for it changes all the time while something is under way.
    public let changesSteadily: Bool

    private let isVerbatim: Bool
    private var open: (@Sendable () -> BoundAttribute)?
    private let showText: (@Sendable (Client) throws(Errno) -> String)?
    private let storeText: (@Sendable (AttributeText) throws(Errno) -> StoreOutcome)?

    init<Subject>(_ attribute: Attribute<Subject>, _ subject: Subject) {
        name = attribute.name
        permissions = attribute.permissions
        isPollable = attribute.isPollable
        summary = attribute.summary
        isVerbatim = attribute.isVerbatim
        showsInJob = attribute.showsInJob
        changesSteadily = attribute.changesSteadily
        if let show = attribute.show {
            showText = { client throws(Errno) in try show(subject, client) }
        } else {
            showText = nil
        }
        switch attribute.action {
        case .store(let store):
            storeText = { text throws(Errno) in
                try store(subject, text)
                return .done
            }
            startsJob = false
        case .start(let start):
            storeText = { text throws(Errno) in .job(try start(subject, text)) }
            startsJob = true
        case nil:
            storeText = nil
            startsJob = false
        }
    }

    /// An attribute each open file of which has a subject of its own, so that what is read there answers what was written
    /// there.
    init<Subject>(_ attribute: Attribute<Subject>, perOpenFile makeSubject: @escaping @Sendable () -> Subject) {
        self.init(attribute, makeSubject())
        open = { BoundAttribute(attribute, makeSubject()) }
    }

    /// The attribute as a newly opened file has it.
    public func opened() -> BoundAttribute { open?() ?? self }

    /// Whether it has something to show; opening it for reading is EACCES otherwise, for root, too.
    public var isReadable: Bool { showText != nil }

    /// Whether it can be stored to; opening it for writing is EACCES otherwise, for root, too.
    public var isWritable: Bool { storeText != nil }

    /// The content without a newline at its end, as an extended attribute has it.
    ///
    /// - Parameter client: who reads it.
    /// - Throws: EACCES where it cannot be read, or what the show threw.
    public func value(for client: Client = .nobody) throws(Errno) -> String {
        guard let showText else { throw .permissionDenied }
        return try showText(client).withoutNewline
    }

    /// The content as the file has it: it ends in a newline, unless it is shown verbatim.
    ///
    /// - Parameter client: who reads it.
    /// - Throws: EACCES where it cannot be read, or what the show threw.
    public func show(for client: Client = .nobody) throws(Errno) -> String {
        guard let showText else { throw .permissionDenied }
        let text = try showText(client)
        return isVerbatim || text.endsInNewline ? text : text + "\n"
    }

    /// Does what writing `bytes`, the content of one write(2), asks for, or validates it and returns the work.
    ///
    /// - Parameter client: who wrote them.
    /// - Throws: EACCES where it cannot be written, EINVAL for bytes that are no ``AttributeText``, or what the store threw.
    public func store(_ bytes: [UInt8], by client: Client = .nobody) throws(Errno) -> StoreOutcome {
        guard let storeText else { throw .permissionDenied }
        return try storeText(AttributeText(bytes, by: client))
    }
}

extension Attribute {
    /// The attribute of one subject.
    public func bound(to subject: Subject) -> BoundAttribute { BoundAttribute(self, subject) }
}
