import LinuxSupport
public import SystemPackage

/// Why a store refused its text, in words beside the errno (the counterpart of Linux's `struct netlink_ext_ack`).
///
/// A write has one, which travels with its ``AttributeText``, and each refusal notes its reason in it: parsers of the
/// text do, and a store with ``AttributeText/refused(_:_:)``. Who answers the write asks for the reason of the errno
/// that it answers with.
public final class ErrorReason: Sendable {
    private let noted = TracedMutex<(error: Errno, clause: String)?>(nil)

    /// A reason that is not noted yet.
    public init() {}

    /// Notes the reason of an error, a clause without a full stop; a later one takes the place of an earlier one.
    ///
    /// - Returns: the error, to be thrown.
    public func note(_ error: Errno, _ clause: String) -> Errno {
        noted.withLock { $0 = (error, clause) }
        return error
    }

    /// The reason of an error; `nil` if none was noted, or that of another error: a store may answer with an errno of
    /// its own for what a parser refused.
    public func clause(of error: Errno) -> String? {
        noted.withLock { noted in noted.flatMap { $0.error == error ? $0.clause : nil } }
    }

    /// A text in quotes: its first 64 characters, control characters and the quote escaped as in Swift.
    public static func quoted(_ text: String) -> String {
        let limit = 64
        let start = text.unicodeScalars.prefix(limit)
        let escaped = start.map { $0.escaped(asASCII: false) }.joined()
        return "\"\(escaped)\(text.unicodeScalars.dropFirst(limit).isEmpty ? "" : "…")\""
    }
}
