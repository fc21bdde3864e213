/// Where the keys of a TOML document stand. The TOML library tells the line of what is malformed but not of what
/// is well-formed and wrong, so this walks the document once more; and before the library does, for that searches its lists of
/// tables from end to end at each key. It walks well-formed text right; of what is malformed, up to the fault. Some faults the
/// library asserts that there are none of, which would be the end of the process: it must not see these.
struct TOMLLocator {
    /// A key, or an element of an array.
    private struct Place {
        var line: Int
        var children: [String: Int] = [:]
        /// The elements, of an array: their numbers, or the lines, below 0, of those that have no parts.
        var elements: [Int] = []
    }

    /// Bytes of some kind, for the loops that go by the byte.
    private struct ByteSet {
        private var members = [Bool](repeating: false, count: 256)

        init(_ bytes: some Sequence<UInt8>) {
            for byte in bytes { members[Int(byte)] = true }
        }

        /// All but some.
        init(allBut bytes: some Sequence<UInt8>) {
            members = members.map { !$0 }
            for byte in bytes { members[Int(byte)] = false }
        }

        func contains(_ byte: UInt8) -> Bool { members[Int(byte)] }

        static let spaces = ByteSet([0x20, 0x09])
        static let blanks = ByteSet([0x20] + (0x09...0x0d))
        static let comment = ByteSet(allBut: [0x0a])
        static let bareKey = ByteSet(allBut: Array(0...0x20) + Array(".=]".utf8))
        static let scalar = ByteSet(allBut: Array(",]}#\n".utf8) + (0x80...0xff))
        static let headerEnd = ByteSet(Array("] \t".utf8))
        static let headerStart = ByteSet(
            Array("_-\"'".utf8) + (0x30...0x39) + (0x41...0x5a) + (0x61...0x7a))
        /// What ends a value in the library's eyes, though the walk takes it for none: white space of Unicode, too.
        static let noValue = ByteSet(Array("}".utf8) + (0x80...0xff))
    }

    /// The most keys of a table: there is none that may have half as many.
    static let maxKeys = 64
    /// How deep values may lie in each other, which is what the library takes.
    private static let maxDepth = 256

    /// The keys and elements, each by its number; the first is the document.
    private var places = [Place(line: 1)]
    private let bytes: [UInt8]
    private var position = 0
    private var line = 1
    private let maxTables: Int
    private var tables = 0
    /// What there is too much of, and the line of the first that is: the walk ends there.
    private(set) var excess: (line: Int, found: String)?
    /// The first fault that the library must not see: where it begins, and what it is.
    private(set) var fault: (position: Int, line: Int, found: String)?

    /// Walks a document.
    ///
    /// - Parameter maxTables: how many tables it may have beside the elements of arrays.
    init(_ document: [UInt8], maxTables: Int) {
        bytes = document
        self.maxTables = maxTables
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { position = 3 }
        var table = 0
        while skipBlank() {
            if current == UInt8(ascii: "[") {
                table = header()
            } else {
                entry(in: table, depth: 0)
            }
        }
    }

    /// The line of a path such as `["node", "1", "link", "pace"]`, or of its nearest ancestor.
    func line(of path: [String]) -> Int {
        var place = 0
        for key in path {
            if let child = places[place].children[key] {
                place = child
            } else if let index = Int(key), places[place].elements.indices.contains(index) {
                let element = places[place].elements[index]
                guard element >= 0 else { return -element }
                place = element
            } else {
                break
            }
        }
        return places[place].line
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func advance() {
        if current == 0x0a { line += 1 }
        position += 1
    }

    private mutating func skip(_ skipped: ByteSet) {
        let count = bytes.count
        while position < count, skipped.contains(bytes[position]) {
            if bytes[position] == 0x0a { line += 1 }
            position += 1
        }
    }

    private mutating func skipSpaces() { skip(.spaces) }

    /// Ends the walk where the library ends, too: what follows is malformed.
    private mutating func end() { position = bytes.count }

    private mutating func end(at start: Int, _ line: Int, found: String) {
        fault = fault ?? (start, line, found)
        end()
    }

    /// Skips white space, newlines and comments; false at the end.
    private mutating func skipBlank() -> Bool {
        while true {
            skip(.blanks)
            guard let byte = current else { return false }
            guard byte == UInt8(ascii: "#") else { return true }
            skip(.comment)
        }
    }

    private mutating func add(at line: Int) -> Int {
        places.append(Place(line: line))
        return places.count - 1
    }

    /// The place of a key in a table.
    private mutating func child(_ key: String, of table: Int, at line: Int, isTable: Bool) -> Int {
        if let known = places[table].children[key] { return known }
        if isTable { tables += 1 }
        if excess == nil, tables > maxTables || places[table].children.count == Self.maxKeys {
            excess = (
                line, tables > maxTables ? "more than \(maxTables) tables" : "more than \(Self.maxKeys) keys in a table"
            )
            end()
        }
        let made = add(at: line)
        places[table].children[key] = made
        return made
    }

    private mutating func addElement(to array: Int, at line: Int) -> Int {
        let made = add(at: line)
        places[array].elements.append(made)
        return made
    }

    /// `[table]` or `[[array.of.tables]]`: the table that it opens.
    private mutating func header() -> Int {
        let (begin, start) = (position, line)
        advance()
        let isArray = current == UInt8(ascii: "[")
        if isArray { advance() }
        skipSpaces()
        // An empty one the library refuses itself.
        if let current, current != UInt8(ascii: "]"), !ByteSet.headerStart.contains(current) {
            end(at: begin, start, found: "a table header that does not begin with a key")
            return 0
        }
        let keys = keyPath()
        skip(.headerEnd)
        var place = 0
        for (index, key) in keys.enumerated() {
            place = child(key, of: place, at: start, isTable: true)
            if isArray, index == keys.count - 1 {
                place = addElement(to: place, at: start)
            } else if let last = places[place].elements.last {
                guard last >= 0 else {
                    // The key has a value, and no table.
                    end()
                    return 0
                }
                place = last
            }
            if excess != nil { break }
        }
        return place
    }

    private mutating func entry(in table: Int, depth: Int) {
        let line = line
        let keys = keyPath()
        var place = table
        for (index, key) in keys.enumerated() {
            place = child(key, of: place, at: line, isTable: index < keys.count - 1)
            if excess != nil { return }
        }
        guard current == UInt8(ascii: "=") else { return end() }
        advance()
        value(of: place, depth: depth)
    }

    private mutating func keyPath() -> [String] {
        var keys: [String] = []
        while true {
            skipSpaces()
            if current == UInt8(ascii: "\"") || current == UInt8(ascii: "'") {
                keys.append(string())
            } else {
                let start = position
                skip(.bareKey)
                if position == start { end() }
                keys.append(String(decoding: bytes[start..<position], as: UTF8.self))
            }
            skipSpaces()
            guard current == UInt8(ascii: ".") else { return keys }
            advance()
        }
    }

    private mutating func value(of place: Int, depth: Int) {
        skipSpaces()
        guard depth < Self.maxDepth else { return end() }
        switch current {
        case UInt8(ascii: "\""), UInt8(ascii: "'"):
            _ = string()
        case UInt8(ascii: "["):
            advance()
            while skipBlank(), current != UInt8(ascii: "]") {
                let hasParts = current == UInt8(ascii: "{") || current == UInt8(ascii: "[")
                let element = hasParts ? addElement(to: place, at: line) : place
                if !hasParts { places[place].elements.append(-line) }
                let start = position
                value(of: element, depth: depth + 1)
                if position == start, let current, ByteSet.noValue.contains(current) {
                    return end(at: start, line, found: "an array with something that is no value")
                }
                guard position > start, skipBlank() else { return end() }
                if current == UInt8(ascii: ",") { advance() } else if current != UInt8(ascii: "]") { return end() }
            }
            advance()
        case UInt8(ascii: "{"):
            advance()
            while skipBlank(), current != UInt8(ascii: "}") {
                if current == UInt8(ascii: ",") { advance() } else { entry(in: place, depth: depth + 1) }
            }
            advance()
        default:
            skip(.scalar)
        }
    }

    /// The raw text between the quotes of any of TOML's four kinds of strings.
    private mutating func string() -> String {
        let quote = current!
        let isMultiline = bytes[position...].prefix(3) == [quote, quote, quote]
        let width = isMultiline ? 3 : 1
        for _ in 0..<width { advance() }
        let start = position
        let count = bytes.count
        while position < count {
            let byte = bytes[position]
            if byte == quote {
                var length = 1
                while length < width, position + length < count, bytes[position + length] == quote { length += 1 }
                if length == width { break }
            } else if byte == UInt8(ascii: "\\"), quote == UInt8(ascii: "\"") {
                advance()
            }
            advance()
        }
        let text = String(decoding: bytes[start..<Swift.min(position, bytes.count)], as: UTF8.self)
        // A multi-line string may end in up to two quotes of its own.
        if isMultiline { skip(ByteSet([quote])) } else { advance() }
        return text
    }
}
