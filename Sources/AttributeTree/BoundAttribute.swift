import LinuxSupport
public import SystemPackage

/// What became of a write to an attribute.
public enum StoreOutcome: Sendable {
    /// It has been done.
    case done
    /// It was accepted; this work is left. The write is answered when the work has ended, with its error if it threw.
    case job(Job)
}

/// Who opened an attribute's file.
public struct Opener: Sendable, Hashable {
    /// The thread; 0 for nobody in particular, -1 for one without a number.
    public var task: Int32
    /// Its user id.
    public var uid: UInt32
    /// Its group id.
    public var gid: UInt32

    /// Somebody who opens a file; by default nobody in particular, who may see everything.
    public init(task: Int32 = 0, uid: UInt32 = 0, gid: UInt32 = 0) {
        self.task = task
        self.uid = uid
        self.gid = gid
    }
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

    /// Whether it belongs to whoever mounts, whoever owns what it is of.
    public let isAdministrative: Bool

    private let isVerbatim: Bool
    private var open: (@Sendable (Opener) -> BoundAttribute)?
    private let listRecords: (@Sendable (UInt64, Client) throws(Errno) -> [TextRecord])?
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
        isAdministrative = attribute.isAdministrative
        switch attribute.content {
        case .text(let show):
            showText = { client throws(Errno) in try show(subject, client) }
            listRecords = nil
        case .records(let records):
            showText = nil
            listRecords = { key, client throws(Errno) in try records(subject, key, client) }
        case nil:
            showText = nil
            listRecords = nil
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
    /// there, or who opened it.
    init<Subject>(_ attribute: Attribute<Subject>, perOpenFile makeSubject: @escaping @Sendable (Opener) -> Subject) {
        self.init(attribute, makeSubject(Opener()))
        open = { BoundAttribute(attribute, makeSubject($0)) }
    }

    /// The attribute as a newly opened file has it.
    public func opened(by opener: Opener = Opener()) -> BoundAttribute { open?(opener) ?? self }

    /// Whether it has something to show; opening it for reading is EACCES otherwise, for root, too.
    public var isReadable: Bool { showText != nil || listRecords != nil }

    /// Whether its text may be long, and is read with a ``TextCursor``.
    public var isLong: Bool { listRecords != nil }

    /// Some records from a key on, for who reads them; none at the end, or where it has none.
    func records(from key: UInt64, for client: Client) throws(Errno) -> [TextRecord] {
        try listRecords?(key, client) ?? []
    }

    /// Whether it can be stored to; opening it for writing is EACCES otherwise, for root, too.
    public var isWritable: Bool { storeText != nil }

    /// The content without a newline at its end, as an extended attribute has it.
    ///
    /// - Parameter client: who reads it.
    /// - Throws: EACCES where it cannot be read, E2BIG where it has more than `limit` bytes, or what the show threw.
    public func value(for client: Client = .nobody, atMost limit: Int = .max) throws(Errno) -> String {
        let text = try text(for: client, atMost: limit).withoutNewline
        guard text.utf8.count <= limit else { throw .argListTooLong }
        return text
    }

    /// The text, as its function makes it. A long one is no longer than it takes to see that it is too long.
    private func text(for client: Client, atMost limit: Int) throws(Errno) -> String {
        if let showText { return try showText(client) }
        guard let listRecords else { throw .permissionDenied }
        var text = ""
        var key: UInt64 = 0
        // A newline at the end does not count.
        while text.utf8.count <= limit || limit == .max {
            let records = try listRecords(key, client)
            guard let last = records.last else { break }
            for record in records { text += record.text }
            key = last.next
        }
        return text
    }

    /// The content as the file has it: it ends in a newline, unless it is shown verbatim.
    ///
    /// - Parameter client: who reads it.
    /// - Throws: EACCES where it cannot be read, or what the show threw.
    public func show(for client: Client = .nobody) throws(Errno) -> String {
        let text = try text(for: client, atMost: .max)
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
