/// A page of the manual in the words of mdoc(7), which man-db and mandoc(1) read.
struct Mdoc {
    /// The page so far.
    private(set) var text: String

    /// The date of the pages: that of the last change of what they say.
    private static let date = "November 29, 2026"

    /// A page with its heading.
    init(_ name: String, section: Int, summary: String) {
        text = """
            .Dd \(Self.date)
            .Dt \(name.uppercased()) \(section)
            .Os
            .Sh NAME
            .Nm \(name)
            .Nd \(Self.inline(summary))

            """
    }

    mutating func section(_ title: String) { line(".Sh \(title)") }

    mutating func subsection(_ title: String) { line(".Ss \(Self.inline(title))") }

    /// A text that is filled, but for its paragraphs of indented lines, which stay as they are.
    mutating func paragraphs(_ text: String) {
        for paragraph in Self.paragraphs(of: text) {
            let isFirst = [".Sh", ".Ss", ".It"].contains { lastLine.hasPrefix($0) }
            if !isFirst, !paragraph[0].hasPrefix("  ") { line(".Pp") }
            add(paragraph)
        }
    }

    private var lastLine: Substring { text.split(separator: "\n").last ?? "" }

    private mutating func add(_ paragraph: [Substring]) {
        var lines = paragraph[...]
        while let first = lines.first {
            let isLiteral = first.hasPrefix("  ")
            let part = lines.prefix { $0.hasPrefix("  ") == isLiteral }
            lines = lines.dropFirst(part.count)
            if isLiteral {
                literal(part.map { String($0.dropFirst(2)) })
            } else {
                // A sentence begins a line, so that a formatter knows its end.
                let sentences = part.joined(separator: " ").replacing(". ", with: ".\n").split(separator: "\n")
                for sentence in sentences { line(Self.block(String(sentence))) }
            }
        }
    }

    /// Lines that stay as they are.
    mutating func literal(_ lines: [String]) {
        line(".Bd -literal -offset indent")
        for text in lines { line(Self.block(text)) }
        line(".Ed")
    }

    /// A list of what there is, each with what it means.
    mutating func list(_ items: [(tag: String, text: String)]) {
        guard !items.isEmpty else { return }
        line(".Bl -tag -width Ds")
        for item in items {
            line(".It \(Self.macro(item.tag))")
            paragraphs(item.text)
        }
        line(".El")
    }

    /// References to other pages, as in `mount 8`.
    mutating func references(_ pages: [(String, Int)]) {
        section("SEE ALSO")
        let sorted = pages.sorted { ($0.1, $0.0) < ($1.1, $1.0) }
        for (place, page) in sorted.enumerated() {
            line(".Xr \(page.0) \(page.1)\(place + 1 < sorted.count ? " ," : "")")
        }
    }

    private mutating func line(_ line: String) { text += line + "\n" }

    private static func paragraphs(of text: String) -> [[Substring]] {
        text.split(separator: "\n", omittingEmptySubsequences: false).split(separator: "").map(Array.init)
    }

    /// What is not a macro at the beginning of a line.
    private static func block(_ text: String) -> String {
        let text = inline(text)
        return text.hasPrefix(".") || text.hasPrefix("'") ? "\\&" + text : text
    }

    /// An argument of a macro: in one word, and no macro itself.
    private static func macro(_ text: String) -> String {
        "\"\\&" + inline(text).replacing("\"", with: "\\(dq") + "\""
    }

    private static func inline(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result += "\\e"
            case "-": result += "\\-"
            case "`": result += "\\(ga"
            // Plain ASCII for every reader.
            case _ where !scalar.isASCII: result += "\\[u\(hex(scalar.value))]"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func hex(_ value: UInt32) -> String {
        let digits = String(value, radix: 16, uppercase: true)
        return String(repeating: "0", count: max(0, 4 - digits.utf8.count)) + digits
    }
}
