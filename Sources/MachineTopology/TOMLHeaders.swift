/// Looks for a table header that begins with what begins no key: the TOML library asserts that there is none, which would be
/// the end of the process. The walk agrees with the library up to the first error, which is all that matters.
struct TOMLHeaders {
    private let bytes: [UInt8]
    private var position = 0
    /// Brackets and braces of values that are open.
    private var depth = 0

    init(_ document: [UInt8]) {
        bytes = document
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { position = 3 }
    }

    /// Where the first such header begins; nil where there is none.
    mutating func firstMalformed() -> Int? {
        while position < bytes.count {
            skip(while: Self.isBlank)
            if depth == 0, isMalformedHeader { return position }
            walkLine()
        }
        return nil
    }

    /// At the beginning of a line.
    private var isMalformedHeader: Bool {
        guard byte(0) == UInt8(ascii: "[") else { return false }
        var place = position + (byte(1) == UInt8(ascii: "[") ? 2 : 1)
        while place < bytes.count, Self.isBlank(bytes[place]) { place += 1 }
        // An empty one the library refuses itself.
        return place < bytes.count && bytes[place] != UInt8(ascii: "]") && !Self.beginsKey(bytes[place])
    }

    /// To the beginning of the next line, over strings that have more than one.
    private mutating func walkLine() {
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\n"):
                position += 1
                return
            case UInt8(ascii: "#"):
                skip { $0 != UInt8(ascii: "\n") }
                continue
            case UInt8(ascii: "\""), UInt8(ascii: "'"):
                skipString(byte)
                continue
            case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
            case UInt8(ascii: "]"), UInt8(ascii: "}"): depth = max(0, depth - 1)
            default: break
            }
            position += 1
        }
    }

    private mutating func skipString(_ quote: UInt8) {
        let isLong = byte(1) == quote && byte(2) == quote
        position += isLong ? 3 : 1
        while position < bytes.count {
            if byte(0) == UInt8(ascii: "\\"), quote == UInt8(ascii: "\"") {
                position += 2
            } else if byte(0) == quote, !isLong || byte(1) == quote && byte(2) == quote {
                // A long string may end in two quotes of its own.
                position += isLong ? 3 : 1
                if isLong { skip { $0 == quote } }
                return
            } else if byte(0) == UInt8(ascii: "\n"), !isLong {
                return
            } else {
                position += 1
            }
        }
    }

    private func byte(_ offset: Int) -> UInt8 { position + offset < bytes.count ? bytes[position + offset] : 0 }

    private mutating func skip(while predicate: (UInt8) -> Bool) {
        while position < bytes.count, predicate(bytes[position]) { position += 1 }
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

    private static func beginsKey(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "\""),
            UInt8(ascii: "'"):
            true
        default: false
        }
    }
}
