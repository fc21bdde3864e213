import TOMLKit

/// A table of a TOML document and where it stands; its getters throw what is wrong with a value, with its line.
struct TOMLReader {
    let table: TOMLTable
    let path: [String]
    let document: TOMLDocument

    /// Whether the table has a key.
    func has(_ key: String) -> Bool { table.contains(key: key) }

    /// What is wrong with the value of a key.
    func error(_ key: String?, found: String, expected: String) -> TopologyError {
        document.error(path + (key.map { [$0] } ?? []), found: found, expected: expected)
    }

    /// Refuses every key but those of a table.
    func allow(_ kind: TopologyKey.Table) throws(TopologyError) {
        let keys = kind.keys.map(\.name) + kind.tables
        let unknown = table.keys.filter { !keys.contains($0) }
        guard !unknown.isEmpty else { return }
        // The library sorts keys; the first in the file is the one to name.
        let locator = document.locator
        let first = unknown.map { (key: $0, line: locator.line(of: path + [$0])) }.min { $0.line < $1.line }!
        throw document.error(
            line: first.line, found: "unknown key \(clip(first.key))", expected: keys.joined(separator: ", "))
    }

    private func value(_ key: String, of types: [TOMLType], expected: String) throws(TopologyError) -> TOMLValue? {
        guard let value = table[key]?.tomlValue else { return nil }
        guard types.contains(value.type) else {
            throw error(key, found: "\(key) of type \(value.type)", expected: expected)
        }
        return value
    }

    func string(_ key: String) throws(TopologyError) -> String? {
        try value(key, of: [.string], expected: "a string")?.string
    }

    func bool(_ key: String) throws(TopologyError) -> Bool? {
        try value(key, of: [.bool], expected: "true or false")?.bool
    }

    func integer(_ key: String, in range: ClosedRange<Int>) throws(TopologyError) -> Int? {
        let expected = "an integer from \(range.lowerBound) to \(range.upperBound)"
        guard let integer = try value(key, of: [.int], expected: expected)?.int else { return nil }
        guard range.contains(integer) else { throw error(key, found: "\(key) \(integer)", expected: expected) }
        return integer
    }

    /// A size in bytes: a string such as "4G", or an integer.
    func size(_ key: String) throws(TopologyError) -> UInt64? {
        let expected = "a size such as \"512M\" or \"4G\""
        guard let value = try value(key, of: [.string, .int], expected: expected) else { return nil }
        if let string = value.string {
            guard let size = UInt64(byteSize: string) else {
                throw error(key, found: "\(key) \(clip(string))", expected: expected)
            }
            return size
        }
        guard let integer = value.int, let size = UInt64(exactly: integer) else {
            throw error(key, found: "\(key) \(value.int ?? 0)", expected: expected)
        }
        return size
    }

    /// One of the words of an enumeration.
    func word<Word>(_ key: String) throws(TopologyError) -> Word?
    where Word: CaseIterable & RawRepresentable, Word.RawValue == String {
        guard let string = try string(key) else { return nil }
        guard let word = Word(rawValue: string) else {
            let words = Word.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            throw error(key, found: "\(key) \(clip(string))", expected: "one of \(words)")
        }
        return word
    }

    func required<Value>(_ key: String, _ value: Value?, in what: String) throws(TopologyError) -> Value {
        guard let value else { throw error(nil, found: "\(what) without \(key)", expected: "the key \(key)") }
        return value
    }

    /// The table under a key.
    func table(_ key: String) throws(TopologyError) -> TOMLReader? {
        guard let value = try value(key, of: [.table], expected: "a table") else { return nil }
        return value.table.map { TOMLReader(table: $0, path: path + [key], document: document) }
    }

    /// The array of tables under a key, empty where there is none.
    func tables(_ key: String) throws(TopologyError) -> [TOMLReader] {
        guard let array = try value(key, of: [.array], expected: "[[\(key)]]")?.array else { return [] }
        var tables: [TOMLReader] = []
        for (index, element) in array.enumerated() {
            let path = path + [key, "\(index)"]
            guard let table = element.table else {
                throw document.error(path, found: "\(key) of type \(element.type)", expected: "[[\(key)]]")
            }
            tables.append(TOMLReader(table: table, path: path, document: document))
        }
        return tables
    }
}
