import TOMLKit

/// A parsed TOML file that can tell where its keys stand.
struct TOMLDocument {
    /// The largest file that is read: a thousand nodes with all their distances need a tenth of it.
    static let maxSize = 64 << 20

    /// The most tables beside the elements of arrays: node and distance, and for each node its link, its initiator and its caches.
    static let maxTables = 2 + 3 * IDSet.maxNodes

    let file: String
    let bytes: [UInt8]
    /// Where its keys stand.
    let locator: TOMLLocator

    /// Parses a document and hands its top table to `body`.
    static func read<Result>(
        _ bytes: [UInt8], file: String, body: (TOMLReader) throws(TopologyError) -> Result
    ) throws(TopologyError) -> Result {
        let document = TOMLDocument(
            file: file, bytes: bytes, locator: TOMLLocator(bytes, maxTables: Self.maxTables))
        let text = try document.validatedText()
        if let (line, found) = document.locator.excess {
            throw document.error(
                line: line, found: found, expected: "nodes, their links, initiators and caches, and distances")
        }
        let fault = document.locator.fault
        let table: TOMLTable
        do {
            // What is before it may be malformed, too.
            table = try TOMLTable(string: fault.map { String(decoding: bytes[..<$0.position], as: UTF8.self) } ?? text)
        } catch let error as TOMLParseError {
            // What it quotes may be a control character; its own quotation marks stay as they are.
            let reason = error.description.unicodeScalars.map { scalar in
                scalar == "'" || scalar == "\"" ? String(scalar) : scalar.escaped(asASCII: false)
            }.joined()
            throw document.error(
                line: error.source.begin.line, found: "malformed TOML (\(reason.prefix(160)))",
                expected: "KEY = VALUE, [TABLE] or [[ARRAY]]")
        } catch {
            throw document.error(line: 1, found: "malformed TOML", expected: "KEY = VALUE, [TABLE] or [[ARRAY]]")
        }
        if let fault {
            throw document.error(
                line: fault.line, found: "malformed TOML (\(fault.found))",
                expected: "KEY = VALUE, [TABLE] or [[ARRAY]]")
        }
        return try body(TOMLReader(table: table, path: [], document: document))
    }

    func error(_ path: [String], found: String, expected: String) -> TopologyError {
        error(line: locator.line(of: path), found: found, expected: expected)
    }

    func error(line: Int, found: String, expected: String) -> TopologyError {
        TopologyError(.data, at: "\(file):\(line)", found: found, expected: expected)
    }

    /// The text, refused where the C string that the library takes, or a Swift string, could not carry it.
    private func validatedText() throws(TopologyError) -> String {
        if let position = bytes.firstIndex(of: 0) {
            throw error(line: lineNumber(at: position), found: "a NUL byte", expected: "text")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            var line = 1
            for text in bytes.split(separator: 0x0a, omittingEmptySubsequences: false) {
                if String(validating: text, as: UTF8.self) == nil { break }
                line += 1
            }
            throw error(line: line, found: "a byte that is not UTF-8", expected: "text in UTF-8")
        }
        for escape in ["\\u0000", "\\U00000000"] {
            if let position = text.utf8.firstRange(of: escape.utf8)?.lowerBound {
                let offset = text.utf8.distance(from: text.startIndex, to: position)
                throw error(line: lineNumber(at: offset), found: "an escaped NUL", expected: "text")
            }
        }
        return text
    }

    private func lineNumber(at position: Int) -> Int { 1 + bytes[..<position].count { $0 == 0x0a } }
}
