/// The reason why a topology was refused: one line, and an exit status.
public struct TopologyError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kind of the error, with the exit status of sysexits.h.
    public enum Kind: Int32, Sendable, Hashable {
        /// Wrong usage of the command, such as a preset that does not exist: EX_USAGE.
        case usage = 64
        /// An error inside the file: EX_DATAERR.
        case data = 65
        /// The file does not exist or cannot be read: EX_NOINPUT.
        case noInput = 66
    }

    /// The kind of the error.
    public let kind: Kind
    /// The place, `FILE:LINE`, or the node; `nil` for the whole topology.
    public let place: String?
    /// What was found.
    public let found: String
    /// What was expected instead.
    public let expected: String

    init(_ kind: Kind, at place: String?, found: String, expected: String) {
        self.kind = kind
        self.place = place
        self.found = found
        self.expected = expected
    }

    /// The exit status of a command that fails for this reason: 64, 65 or 66.
    public var exitStatus: Int32 { kind.rawValue }

    /// One line: `FILE:LINE: what was found; what was expected`.
    public var description: String { (place.map { "\($0): " } ?? "") + "\(found); expected \(expected)" }
}

/// Something in a topology that a rule is about: a key of the file, whether or not it came from one.
enum TopologyPlace: Hashable {
    case machine(key: String?)
    case node(index: Int, key: String)
    case link(index: Int, key: String)
    case initiator(index: Int, key: String)
    case cache(node: Int, index: Int, key: String)
    case distance(index: Int, key: String)
}

/// A broken rule, before it is known where the value stood.
struct TopologyFault: Error {
    let place: TopologyPlace
    let found: String
    let expected: String
}
