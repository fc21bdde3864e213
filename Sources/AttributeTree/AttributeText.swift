public import SystemPackage

/// The text of one write(2) to an attribute, and the parsers that stores share.
///
/// Numbers and truth values are parsed as in the kernel's kstrtox.c: no white space around them, EINVAL for malformed
/// text, ERANGE for a number that does not fit.
public struct AttributeText: Sendable, Hashable {
    /// The largest size of one write in bytes: a page, as in sysfs.
    public static let maxSize = 4096

    /// The text, without one newline at its end. A NUL byte at the end is dropped, as a kernel's store reads a C
    /// string.
    public let text: String

    /// The writer.
    public let client: Client

    /// Where the reason of a refusal is noted.
    public let reason: ErrorReason

    /// The thread of the writer; 0 if there is none in particular, -1 if it has no number.
    public var writer: Int32 { client.task }

    /// The text of the bytes of a write.
    ///
    /// - Throws: EINVAL for more than ``maxSize`` bytes, a NUL byte before the end, or bytes that are not UTF-8.
    public init(_ bytes: [UInt8], by client: Client = .nobody, reason: ErrorReason = ErrorReason()) throws(Errno) {
        guard bytes.count <= Self.maxSize else {
            throw reason.note(.invalidArgument, "one write has at most \(Self.maxSize) bytes")
        }
        let end = bytes.firstIndex(of: 0) ?? bytes.count
        // NUL bytes alone are no text, and what stands behind one is none of it.
        guard end == bytes.count || end > 0 && bytes[end...].allSatisfy({ $0 == 0 }) else {
            throw reason.note(.invalidArgument, "a NUL byte precedes the end of the text")
        }
        // The newline is left out before there is a string: no second one is made.
        let length = end > 0 && bytes[end - 1] == UInt8(ascii: "\n") ? end - 1 : end
        guard let span = try? UTF8Span(validating: bytes.span.extracting(first: length)) else {
            throw reason.note(.invalidArgument, "the text is not UTF-8")
        }
        text = String(copying: span)
        self.client = client
        self.reason = reason
    }

    /// A text as if it were written, for tests.
    public init(_ text: String, by client: Client = .nobody, reason: ErrorReason = ErrorReason()) {
        self.text = text.withoutNewline
        self.client = client
        self.reason = reason
    }

    /// A part of the text, of the same writer. Reasons of its refusal are those of the whole.
    public func part(_ text: some StringProtocol) -> AttributeText {
        AttributeText(String(text), by: client, reason: reason)
    }

    /// The error to throw for a refusal, with its reason: a clause without a full stop.
    public func refused(_ error: Errno, _ reason: String) -> Errno { self.reason.note(error, reason) }

    /// The text in quotes, as reasons show it: shortened, without control characters.
    public var quoted: String { ErrorReason.quoted(text) }

    /// Whether both have the same text and writer.
    public static func == (left: AttributeText, right: AttributeText) -> Bool {
        left.text == right.text && left.client == right.client
    }

    /// Hashes the text and the writer.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(text)
        hasher.combine(client)
    }

    /// The text if it is one word: not empty, no white space.
    ///
    /// - Throws: EINVAL otherwise.
    public var word: String {
        get throws(Errno) {
            guard !text.isEmpty, !text.utf8.contains(where: isSpace) else {
                throw refused(.invalidArgument, "\(quoted) is not one word")
            }
            return text
        }
    }

    /// The words between white space; empty for an empty text.
    public var words: [AttributeText] {
        text.utf8.split(whereSeparator: isSpace).map { part(Substring($0)) }
    }

    /// The lines of the text, without their newlines; empty lines are included.
    public var lines: [AttributeText] {
        text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .map { part(Substring($0)) }
    }

    /// One of some words, compared exactly (`sysfs_match_string()`).
    ///
    /// - Throws: EINVAL for any other text.
    public func keyword(of words: [String]) throws(Errno) -> String {
        guard words.contains(text) else { throw isNone(of: words) }
        return text
    }

    /// One of the words of an enumeration, compared exactly.
    ///
    /// - Throws: EINVAL for any other text.
    public func keyword<Word>(as type: Word.Type = Word.self) throws(Errno) -> Word
    where Word: CaseIterable & RawRepresentable, Word.RawValue == String {
        guard let word = Word(rawValue: text) else { throw isNone(of: Word.allCases.map(\.rawValue)) }
        return word
    }

    private func isNone(of words: [String]) -> Errno {
        refused(
            .invalidArgument, "\(quoted) is not \(words.count == 1 ? "" : "one of ")\(words.joined(separator: ", "))")
    }
}

extension String {
    /// The string without one newline at its end; a carriage return before it stays.
    var withoutNewline: String { endsInNewline ? String(Substring(unicodeScalars.dropLast())) : self }

    var endsInNewline: Bool { utf8.last == UInt8(ascii: "\n") }
}

func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }
