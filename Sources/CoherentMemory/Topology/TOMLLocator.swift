/// Where the keys of a TOML document stand. The TOML library tells the line of what is malformed but not of what
/// is well-formed and wrong, so this walks the document once more. It relies on the document having been parsed.
struct TOMLLocator {
    private var lines: [[String]: Int] = [:]
    private var arrays: [[String]: Int] = [:]
    private let bytes: [UInt8]
    private var position = 0
    private var line = 1

    /// Walks a well-formed document.
    init(_ document: [UInt8]) {
        bytes = document
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { position = 3 }
        var table: [String] = []
        while skipBlank() {
            if current == UInt8(ascii: "[") {
                table = header()
            } else {
                entry(in: table)
            }
        }
    }

    /// The line of a path such as `["node", "1", "link", "pace"]`, or of its nearest ancestor.
    func line(of path: [String]) -> Int {
        var path = path[...]
        while !path.isEmpty {
            if let line = lines[Array(path)] { return line }
            path = path.dropLast()
        }
        return 1
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func advance() {
        if current == 0x0a { line += 1 }
        position += 1
    }

    private mutating func skip(_ isSkipped: (UInt8) -> Bool) {
        while let byte = current, isSkipped(byte) { advance() }
    }

    private mutating func skipSpaces() { skip { $0 == 0x20 || $0 == 0x09 } }

    /// Skips white space, newlines and comments; false at the end.
    private mutating func skipBlank() -> Bool {
        while let byte = current {
            if byte == UInt8(ascii: "#") {
                skip { $0 != 0x0a }
            } else if byte == 0x20 || (0x09...0x0d).contains(byte) {
                advance()
            } else {
                return true
            }
        }
        return false
    }

    private mutating func record(_ path: [String], at line: Int) {
        if lines[path] == nil { lines[path] = line }
    }

    /// `[table]` or `[[array.of.tables]]`: the path of the table that it opens.
    private mutating func header() -> [String] {
        let start = line
        advance()
        let isArray = current == UInt8(ascii: "[")
        if isArray { advance() }
        let keys = keyPath()
        skip { $0 == UInt8(ascii: "]") || $0 == 0x20 || $0 == 0x09 }
        var path: [String] = []
        for (index, key) in keys.enumerated() {
            path.append(key)
            if isArray, index == keys.count - 1 { arrays[path, default: 0] += 1 }
            if let count = arrays[path] { path.append("\(count - 1)") }
        }
        record(path, at: start)
        return path
    }

    private mutating func entry(in table: [String]) {
        let start = position
        let line = line
        var path = table
        for key in keyPath() {
            path.append(key)
            record(path, at: line)
        }
        skip { $0 == UInt8(ascii: "=") }
        value(path)
        if position == start { advance() }
    }

    private mutating func keyPath() -> [String] {
        var keys: [String] = []
        while true {
            skipSpaces()
            if current == UInt8(ascii: "\"") || current == UInt8(ascii: "'") {
                keys.append(string())
            } else {
                let start = position
                skip { $0 > 0x20 && !Array(".=]".utf8).contains($0) }
                keys.append(String(decoding: bytes[start..<position], as: UTF8.self))
            }
            skipSpaces()
            guard current == UInt8(ascii: ".") else { return keys }
            advance()
        }
    }

    private mutating func value(_ path: [String]) {
        skipSpaces()
        switch current {
        case UInt8(ascii: "\""), UInt8(ascii: "'"):
            _ = string()
        case UInt8(ascii: "["):
            advance()
            var index = 0
            while skipBlank(), current != UInt8(ascii: "]") {
                if current == UInt8(ascii: ",") {
                    advance()
                    continue
                }
                let start = position
                record(path + ["\(index)"], at: line)
                value(path + ["\(index)"])
                index += 1
                if position == start { advance() }
            }
            advance()
        case UInt8(ascii: "{"):
            advance()
            while skipBlank(), current != UInt8(ascii: "}") {
                if current == UInt8(ascii: ",") { advance() } else { entry(in: path) }
            }
            advance()
        default:
            skip { !Array(",]}#\n".utf8).contains($0) }
        }
    }

    /// The raw text between the quotes of any of TOML's four kinds of strings.
    private mutating func string() -> String {
        let quote = current!
        let isMultiline = bytes[position...].prefix(3) == [quote, quote, quote]
        let width = isMultiline ? 3 : 1
        for _ in 0..<width { advance() }
        let start = position
        while let byte = current {
            if byte == UInt8(ascii: "\\"), quote == UInt8(ascii: "\"") {
                advance()
            } else if byte == quote, bytes[position...].prefix(width).allSatisfy({ $0 == quote }) {
                break
            }
            advance()
        }
        let text = String(decoding: bytes[start..<Swift.min(position, bytes.count)], as: UTF8.self)
        // A multi-line string may end in up to two quotes of its own.
        if isMultiline { skip { $0 == quote } } else { advance() }
        return text
    }
}
