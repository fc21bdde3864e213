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

    /// The thread of the writer; 0 if there is none in particular, -1 if it has no number.
    public var writer: Int32 { client.task }

    /// The text of the bytes of a write.
    ///
    /// - Throws: EINVAL for more than ``maxSize`` bytes, a NUL byte before the end, or bytes that are not UTF-8.
    public init(_ bytes: [UInt8], by client: Client = .nobody) throws(Errno) {
        guard bytes.count <= Self.maxSize else { throw .invalidArgument }
        let end = bytes.firstIndex(of: 0) ?? bytes.count
        // NUL bytes alone are no text, and what stands behind one is none of it.
        guard end == bytes.count || end > 0 && bytes[end...].allSatisfy({ $0 == 0 }) else { throw .invalidArgument }
        // The newline is left out before there is a string: no second one is made.
        let length = end > 0 && bytes[end - 1] == UInt8(ascii: "\n") ? end - 1 : end
        guard let span = try? UTF8Span(validating: bytes.span.extracting(first: length)) else { throw .invalidArgument }
        text = String(copying: span)
        self.client = client
    }

    /// A text as if it were written, for tests and for a store that passes on a part of its text.
    public init(_ text: String, by client: Client = .nobody) {
        self.text = text.withoutNewline
        self.client = client
    }

    /// The text if it is one word: not empty, no white space.
    ///
    /// - Throws: EINVAL otherwise.
    public var word: String {
        get throws(Errno) {
            guard !text.isEmpty, !text.utf8.contains(where: isSpace) else { throw .invalidArgument }
            return text
        }
    }

    /// The words between white space; empty for an empty text.
    public var words: [AttributeText] {
        text.utf8.split(whereSeparator: isSpace).map { AttributeText(String(Substring($0)), by: client) }
    }

    /// The lines of the text, without their newlines; empty lines are included.
    public var lines: [AttributeText] {
        text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .map { AttributeText(String(Substring($0)), by: client) }
    }

    /// One of some words, compared exactly (`sysfs_match_string()`).
    ///
    /// - Throws: EINVAL for any other text.
    public func keyword(of words: [String]) throws(Errno) -> String {
        guard words.contains(text) else { throw .invalidArgument }
        return text
    }

    /// One of the words of an enumeration, compared exactly.
    ///
    /// - Throws: EINVAL for any other text.
    public func keyword<Word>(as type: Word.Type = Word.self) throws(Errno) -> Word
    where Word: RawRepresentable, Word.RawValue == String {
        guard let word = Word(rawValue: text) else { throw .invalidArgument }
        return word
    }
}

extension String {
    /// The string without one newline at its end; a carriage return before it stays.
    var withoutNewline: String { endsInNewline ? String(Substring(unicodeScalars.dropLast())) : self }

    var endsInNewline: Bool { utf8.last == UInt8(ascii: "\n") }
}

func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }
