import AttributeTree
import CoherentMemory
import SystemPackage

/// sys/kernel/cdm/trace: what tracefs is to Linux.
enum TraceAttributes {
    /// The opener of one of the files.
    struct Subject: Sendable {
        let services: TreeServices
        let opener: Opener

        var tracer: Tracer { services.machine.trace }
        var trace: TraceInstance { tracer.main }
    }

    static func directory(_ services: TreeServices) -> Child {
        .directory(
            "trace",
            Directory(
                permissions: .ownerReadWriteExecute,
                table.map { attribute in .attribute(attribute) { Subject(services: services, opener: $0) } } + [
                    .stream(
                        AttributeTree.Stream(
                            "trace_pipe", permissions: [.ownerRead, .groupRead],
                            summary: "The recorded events as text, from the oldest that no reader has had.",
                            source: TracePipe(log: services.trace, form: .text))),
                    .stream(
                        AttributeTree.Stream(
                            "trace_pipe_raw", permissions: [.ownerRead, .groupRead],
                            summary:
                                "The state of the machine and all events from the open on in binary form, for cdmfs record.",
                            source: TracePipe(log: services.trace, form: .record))),
                    .stream(
                        AttributeTree.Stream(
                            "trace_pipe_watch", permissions: [.ownerRead, .groupRead],
                            summary: "The events from the open on in binary form, for cdmfs top.",
                            source: TracePipe(log: services.trace, form: .watch))),
                ]))
    }

    /// Who changes what is recorded may have to wait for a thread that lost its CPU within an event.
    private static func job(_ work: @escaping @Sendable () throws(Errno) -> Void) -> Job {
        Job("trace", isShort: true) { _ throws(Errno) in try work() }
    }

    private static let permissions: FilePermissions = [.ownerReadWrite, .groupRead]

    static let table: [Attribute<Subject>] = [
        .readWrite(
            "events", permissions: permissions,
            summary: "The names of the events, a line each, those that are recorded in brackets; write NAME or !NAME.",
            show: { subject in
                let enabled = subject.trace.enabledKinds
                return TraceEvent.Kind.allCases.map { enabled.contains($0) ? "[\($0.name)]" : $0.name }
                    .joined(separator: "\n")
            }, start: setEvents),
        .readWrite(
            "enable", permissions: permissions,
            summary: "1 if all events are recorded, 0 for none, X for some; write 0 or 1.",
            show: { subject in
                switch subject.trace.enabledKinds {
                case []: "0"
                case .all: "1"
                default: "X"
                }
            },
            start: { subject, text throws(Errno) in
                // Linux takes no other number here (event_enable_write()).
                let number = try text.unsigned(base: 10)
                guard number < 2 else { throw .invalidArgument }
                return job { () throws(Errno) in
                    try subject.tracer.updateEnabledKinds { $0 = number == 1 ? .all : [] }
                }
            }),
        .readWrite(
            "filter", permissions: permissions,
            summary:
                "The events that are recorded, by buffer, node and pid; `none` without a filter; write 0 for none.",
            show: showFilter, start: setFilter),
        .readWrite(
            "buffer_size_kb", permissions: permissions,
            summary: "The size in kB of the memory for each CPU's events; when it is full the oldest go.",
            show: { "\($0.trace.kilobytes)" },
            start: { subject, text throws(Errno) in
                let size = try text.unsigned(base: 10)
                guard size > 0 else { throw .invalidArgument }
                guard size <= TraceInstance.kilobyteRange.upperBound else { throw .noMemory }
                // A few pages at least, as Linux rounds up to.
                let kilobytes = max(Int(size), TraceInstance.kilobyteRange.lowerBound)
                return job { () throws(Errno) in try subject.trace.setKilobytes(kilobytes) }
            }),
        .readWrite(
            "clock", permissions: permissions,
            summary: "The clock of the events, in brackets; a change erases what is recorded.",
            show: { choices(selected: $0.trace.clock) },
            start: { subject, text throws(Errno) in
                let clock = try text.keyword(as: TraceClock.self)
                return job { () throws(Errno) in try subject.trace.setClock(clock) }
            }),
    ]

    /// As set_event of tracefs, with names between white space.
    @Sendable private static func setEvents(_ subject: Subject, _ text: AttributeText) throws(Errno) -> Job {
        var changes: [(kind: TraceKinds, isEnabled: Bool)] = []
        for word in text.words {
            let isEnabled = !word.text.hasPrefix("!")
            guard let kind = TraceEvent.Kind(name: word.text.dropFirst(isEnabled ? 0 : 1)) else {
                throw .invalidArgument
            }
            changes.append((TraceKinds(kind), isEnabled))
        }
        guard !changes.isEmpty else { throw .invalidArgument }
        return job { [changes] () throws(Errno) in
            try subject.tracer.updateEnabledKinds { kinds in
                for (kind, isEnabled) in changes {
                    if isEnabled { kinds.formUnion(kind) } else { kinds.subtract(kind) }
                }
            }
        }
    }

    // MARK: Filters

    @Sendable private static func setFilter(_ subject: Subject, _ text: AttributeText) throws(Errno) -> Job {
        let filter =
            text.text.allSatisfy({ $0 == " " || $0 == "0" }) && text.text.contains("0")
            ? TraceFilter([]) : try TraceFilterParser(subject.services, text).filter()
        return job { subject.trace.filter = filter }
    }

    @Sendable private static func showFilter(_ subject: Subject) -> String {
        let alternatives = subject.trace.filter.alternatives
        guard !alternatives.isEmpty else { return "none" }
        let viewer = Uevent.Viewer(subject.opener)
        return alternatives.map { tests in
            tests.map { test in
                let value: String =
                    switch test.field {
                    case .node: "\(test.value)"
                    case .pid: number(of: Int32(truncatingIfNeeded: test.value), for: viewer)
                    case .buffer:
                        "\""
                            + subject.services.files.name(of: test.value).shown(
                                to: viewer, escape: TraceFilterParser.escaped) + "\""
                    }
                return "\(test.field.word) \(test.isNegated ? "!=" : "==") \(value)"
            }.joined(separator: " && ")
        }.joined(separator: " || ")
    }

    private static func number(of task: Int32, for viewer: Uevent.Viewer) -> String {
        viewer.numbers == .ours ? "\(task)" : "\(ToldTask(task).number(for: viewer.numbers))"
    }
}

extension TraceFilter.Field {
    /// The word in `filter`.
    var word: String {
        switch self {
        case .buffer: "buffer"
        case .node: "node"
        case .pid: "pid"
        }
    }
}

/// Reads `FIELD == VALUE` and `FIELD != VALUE`, joined by `&&` and, less closely, `||`. A buffer is a path below buffers/ or
/// `inode:NUMBER`, in double quotes if it has blanks.
struct TraceFilterParser {
    private let services: TreeServices
    private let client: Client
    private var rest: Substring.UnicodeScalarView

    init(_ services: TreeServices, _ text: AttributeText) {
        self.services = services
        client = text.client
        rest = text.text[...].unicodeScalars
    }

    /// The filter. EINVAL for malformed text or a field that does not exist, E2BIG for more than ``TraceFilter/limit`` tests, ENOENT
    /// for a buffer and ESRCH for a task that do not exist.
    consuming func filter() throws(Errno) -> TraceFilter {
        var alternatives: [[TraceFilter.Test]] = []
        var count = 0
        repeat {
            var tests: [TraceFilter.Test] = []
            repeat {
                count += 1
                guard count <= TraceFilter.limit else { throw .argListTooLong }
                tests.append(try test())
            } while take("&&")
            alternatives.append(tests)
        } while take("||")
        skipBlanks()
        guard rest.isEmpty else { throw .invalidArgument }
        return TraceFilter(alternatives)
    }

    private mutating func skipBlanks() { rest = rest.drop { $0 == " " || $0 == "\t" } }

    private mutating func take(_ word: String) -> Bool {
        skipBlanks()
        guard rest.starts(with: word.unicodeScalars) else { return false }
        rest = rest.dropFirst(word.unicodeScalars.count)
        return true
    }

    private mutating func test() throws(Errno) -> TraceFilter.Test {
        skipBlanks()
        let word = String(rest.prefix { ("a"..."z").contains($0) })
        rest = rest.dropFirst(word.unicodeScalars.count)
        guard let field = [TraceFilter.Field.buffer, .node, .pid].first(where: { $0.word == word }) else {
            throw .invalidArgument
        }
        let isNegated = take("!=")
        guard isNegated || take("==") else { throw .invalidArgument }
        let value = try value()
        return TraceFilter.Test(field, try number(of: value, field), isNegated: isNegated)
    }

    /// A word, or what stands between double quotes.
    private mutating func value() throws(Errno) -> String {
        skipBlanks()
        var text = String.UnicodeScalarView()
        guard take("\"") else {
            text.append(contentsOf: rest.prefix { !" \t&|\"".unicodeScalars.contains($0) })
            rest = rest.dropFirst(text.count)
            guard !text.isEmpty else { throw .invalidArgument }
            return String(text)
        }
        while let scalar = rest.popFirst() {
            if scalar == "\"" { return String(text) }
            guard scalar == "\\" else {
                text.append(scalar)
                continue
            }
            guard let next = rest.popFirst() else { break }
            text.append(next)
        }
        throw .invalidArgument
    }

    /// What stands between double quotes for a name.
    static func escaped(_ text: String) -> String {
        text.unicodeScalars.map { $0 == "\"" || $0 == "\\" ? "\\" + String($0) : String($0) }.joined()
    }

    private func number(of value: String, _ field: TraceFilter.Field) throws(Errno) -> UInt64 {
        let text = AttributeText(value, by: client)
        switch field {
        case .node: return UInt64(try text.nodeID())
        case .pid: return UInt64(UInt32(bitPattern: try services.task(try text.task()).id))
        case .buffer:
            if value.hasPrefix("inode:") {
                let inode = try AttributeText(String(value.dropFirst(6)), by: client).unsigned(base: 10)
                guard let file = services.files.file(ofInode: inode) else { throw .noSuchFileOrDirectory }
                return file.buffer.id
            }
            return try services.files.memory(named: value).id
        }
    }
}
