import AttributeTree
import SystemPackage

/// What happened to a device, as Linux tells user space (lib/kobject_uevent.c).
package struct Uevent: Sendable {
    /// A part of an event. What is below buffers/ each reader is told as far as that one may see it.
    package enum Value: Sendable {
        case text(String)
        /// The path below sys/ of the controls of a file below buffers/.
        case controls(any BufferPlace)
        /// The path of a buffer below buffers/.
        case buffer(any BufferPlace)
        /// A task, by the number that it has for the reader.
        case task(ToldTask)

        private static let controlFolder = "/kernel/cdm/buffers/"

        /// Bytes of it for one who may see all.
        var length: Int {
            switch self {
            case .text(let text): text.utf8.count
            case .controls(let path): Self.controlFolder.utf8.count + path.length
            case .buffer(let path): path.length
            case .task: 10
            }
        }

        /// The text of it for a reader, in which `escape` puts what would end it.
        func shown(to viewer: Viewer, escape: (String) -> String) -> String {
            switch self {
            case .text(let text): escape(text)
            case .controls(let path): Self.controlFolder + path.shown(to: viewer.credentials, escape: escape)
            case .buffer(let path): path.shown(to: viewer.credentials, escape: escape)
            case .task(let task): "\(task.number(for: viewer.numbers))"
            }
        }
    }

    /// Who reads events, as of the moment when the file was opened.
    package struct Viewer: Sendable {
        /// What it may see.
        package var credentials: Credentials
        /// By which numbers it knows tasks.
        package var numbers = PIDReader.ours

        package init(_ credentials: Credentials, numbers: PIDReader = .ours) {
            self.credentials = credentials
            self.numbers = numbers
        }

        package init(_ opener: Opener) { self.init(Credentials(opener), numbers: PIDReader(opener.task)) }
    }

    package typealias Detail = (name: String, value: Value)

    let action: String
    /// The device's place below sys/, with a slash in front.
    let place: Value
    let subsystem: String
    var details: [Detail] = []

    /// The words that may stand for ACTION (enum kobject_action).
    private static let actions = ["add", "remove", "change", "move", "online", "offline", "bind", "unbind"]

    package init(action: String, place: Value, subsystem: String, details: [Detail] = []) {
        self.action = action
        self.place = place
        self.subsystem = subsystem
        self.details = details
    }

    package init(action: String, path: String, subsystem: String, details: [(name: String, value: String)] = []) {
        self.init(
            action: action, place: .text(path), subsystem: subsystem,
            details: details.map { ($0.name, .text($0.value)) })
    }

    /// The event that a write to a `uevent` file asks for: `ACTION`, or `ACTION UUID KEY=VALUE …`
    /// (kobject_synth_uevent()).
    ///
    /// - Throws: EINVAL for malformed text.
    init(synthetic text: AttributeText, path: String, subsystem: String) throws(Errno) {
        var words = text.text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        let action = words.removeFirst()
        guard Self.actions.contains(action) else { throw .invalidArgument }
        self.init(action: action, path: path, subsystem: subsystem)
        guard let uuid = words.first else {
            details = [("SYNTH_UUID", .text("0"))]
            return
        }
        guard Self.isUUID(uuid) else { throw .invalidArgument }
        details = [("SYNTH_UUID", .text(uuid))]
        for word in words.dropFirst() {
            let pair = word.split(separator: "=", omittingEmptySubsequences: false)
            guard pair.count == 2, pair.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(Self.isAlphanumeric) }) else {
                throw .invalidArgument
            }
            details.append(("SYNTH_ARG_\(pair[0])", .text(String(pair[1]))))
        }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"):
            true
        default: false
        }
    }

    private static func isUUID(_ text: String) -> Bool {
        let groups = text.split(separator: "-", omittingEmptySubsequences: false)
        return groups.map(\.utf8.count) == [8, 4, 4, 4, 12]
            && groups.allSatisfy { $0.allSatisfy(\.isHexDigit) && $0.utf8.count == $0.count }
    }

    /// The text for a reader: a line for each `NAME=VALUE`, and an empty line.
    func text(sequence: UInt64, for viewer: Viewer) -> [UInt8] {
        var lines = [
            ("ACTION", action), ("DEVPATH", place.shown(to: viewer, escape: Self.escaped)), ("SUBSYSTEM", subsystem),
        ]
        lines += details.map { ($0.name, $0.value.shown(to: viewer, escape: Self.escaped)) }
        lines.append(("SEQNUM", String(sequence)))
        return Array((lines.map { "\($0)=\($1)\n" }.joined() + "\n").utf8)
    }

    /// About how many bytes the text has, and it takes to keep it at most.
    var size: Int {
        details.reduce(64 + action.utf8.count + place.length + subsystem.utf8.count) {
            $0 + $1.name.utf8.count + $1.value.length + 2
        }
    }

    /// What stands in the place of events that came and went before a reader took them.
    static func lost(_ count: UInt64) -> [UInt8] { Array("ACTION=lost\nCOUNT=\(count)\n\n".utf8) }

    /// A name of a buffer may hold a newline, which here would end the line: \\012, as /proc/self/mountinfo has it.
    private static func escaped(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 == 0x0a || $0 == UInt8(ascii: "\\") }) else { return text }
        return text.unicodeScalars.map { $0 == "\n" ? "\\012" : $0 == "\\" ? "\\134" : String($0) }.joined()
    }
}
