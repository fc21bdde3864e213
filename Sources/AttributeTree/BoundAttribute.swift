import LinuxSupport
public import SystemPackage

/// The outcome of a write to an attribute.
public enum StoreOutcome: Sendable {
    /// The write is done.
    case done
    /// The write is accepted, and this work remains. The write is answered when the work has ended, with its error if
    /// it threw.
    case job(Job)
}

/// The process that opened an attribute's file.
public struct Opener: Sendable, Hashable {
    /// The thread; 0 for none in particular, -1 for one without a number.
    public var task: Int32
    /// Its user id.
    public var uid: UInt32
    /// Its group id.
    public var gid: UInt32

    /// An opener. The default is none in particular, with access to everything.
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
    /// The mode of the file.
    public let permissions: FilePermissions
    /// Whether poll(2) reports changes of its content.
    public let isPollable: Bool
    /// A short summary.
    public let summary: String
    /// The size in stat(2), in bytes: one page for any text, as in sysfs.
    public let size: Int

    /// Whether a write may take long, because it starts a ``Job``.
    public let startsJob: Bool

    /// Whether a read may take long, too.
    public let showsInJob: Bool

    /// Whether poll(2) reports changes at a limited rate, because the content changes all the time while work is in
    /// progress.
    public let changesSteadily: Bool

    /// Whether it belongs to the user who mounts, regardless of the owner of its subject.
    public let isAdministrative: Bool

    private let isVerbatim: Bool
    private var open: (@Sendable (Opener) -> BoundAttribute)?
    private let listRecords: (@Sendable (UInt64, Client) throws(Errno) -> [TextRecord])?
    private let showText: (@Sendable (Client) throws(Errno) -> String)?
    private let showBytes: (@Sendable () throws(Errno) -> [UInt8])?
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
        if case .bytes(let count, let show) = attribute.content {
            size = count
            showBytes = { () throws(Errno) in try show(subject) }
        } else {
            size = 4096
            showBytes = nil
        }
        switch attribute.content {
        case .text(let show):
            showText = { client throws(Errno) in try show(subject, client) }
            listRecords = nil
        case .records(let records):
            showText = nil
            listRecords = { key, client throws(Errno) in try records(subject, key, client) }
        case .bytes, nil:
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

    /// An attribute with a subject of its own for each open file, so that a read depends on an earlier write to the
    /// same open file, or on the opener.
    init<Subject>(_ attribute: Attribute<Subject>, perOpenFile makeSubject: @escaping @Sendable (Opener) -> Subject) {
        self.init(attribute, makeSubject(Opener()))
        open = { BoundAttribute(attribute, makeSubject($0)) }
    }

    /// The attribute of a new open file.
    public func opened(by opener: Opener = Opener()) -> BoundAttribute { open?(opener) ?? self }

    /// Whether it can be read. If not, opening it for reading is EACCES, for root, too.
    public var isReadable: Bool { showText != nil || listRecords != nil || showBytes != nil }

    /// Whether its text may be long. A ``TextCursor`` reads it.
    public var isLong: Bool { listRecords != nil }

    /// Some records from a key on, for a reader; none at the end, or if the attribute has no records.
    func records(from key: UInt64, for client: Client) throws(Errno) -> [TextRecord] {
        try listRecords?(key, client) ?? []
    }

    /// Whether it can be written. If not, opening it for writing is EACCES, for root, too.
    public var isWritable: Bool { storeText != nil }

    /// The content without a newline at its end, as in an extended attribute.
    ///
    /// - Parameters:
    ///   - client: the reader.
    ///   - limit: the maximum number of bytes.
    /// - Throws: EACCES if it cannot be read, E2BIG if it has more than `limit` bytes, or an error of the show.
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

    /// The content of the file: it ends in a newline, unless it is shown verbatim.
    ///
    /// - Parameter client: the reader.
    /// - Throws: EACCES if it cannot be read, or an error of the show.
    public func show(for client: Client = .nobody) throws(Errno) -> String {
        let text = try text(for: client, atMost: .max)
        return isVerbatim || text.endsInNewline ? text : text + "\n"
    }

    /// The bytes of the file: those of ``show(for:)``, or of an attribute that is no text.
    ///
    /// - Parameter client: the reader.
    /// - Throws: EACCES if it cannot be read, or an error of the show.
    public func bytes(for client: Client = .nobody) throws(Errno) -> [UInt8] {
        if let showBytes { return try showBytes() }
        return Array(try show(for: client).utf8)
    }

    /// Stores `bytes`, the content of one write(2), or validates them and returns the remaining work.
    ///
    /// - Parameters:
    ///   - bytes: the content of one write(2).
    ///   - client: the writer.
    ///   - reason: where the reason of a refusal is noted, by the store or by the job that it returns.
    /// - Throws: EACCES if it cannot be written, EINVAL if the bytes are not an ``AttributeText``, or an error of the
    ///   store.
    public func store(
        _ bytes: [UInt8], by client: Client = .nobody, reason: ErrorReason = ErrorReason()
    ) throws(Errno) -> StoreOutcome {
        guard let storeText else { throw reason.note(.permissionDenied, "the file cannot be written") }
        return try storeText(AttributeText(bytes, by: client, reason: reason))
    }
}

extension Attribute {
    /// The attribute of one subject.
    public func bound(to subject: Subject) -> BoundAttribute { BoundAttribute(self, subject) }
}
