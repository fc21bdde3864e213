/// A table of texts and figures, for every form of output.
public struct DataTable: Sendable {
    /// A column.
    public struct Column: Sendable, ExpressibleByStringLiteral {
        /// Its title.
        public let title: String
        /// Whether it has figures, which stand to the right.
        public let hasFigures: Bool

        /// A column.
        public init(_ title: String, hasFigures: Bool = false) {
            self.title = title
            self.hasFigures = hasFigures
        }

        /// A column of texts.
        public init(stringLiteral title: String) { self.init(title) }

        /// A column of figures.
        public static func figures(_ title: String) -> Column { Column(title, hasFigures: true) }
    }

    /// The name, one word, by which it is asked for.
    public let name: String
    /// What it shows, in a line.
    public let caption: String
    /// The columns. The first one names the row.
    public let columns: [Column]
    /// The rows, each with a text for each column.
    public private(set) var rows: [[String]]
    /// What is not in the rows, such as "and 3 more"; empty if there is nothing.
    public var rest = ""

    /// A table.
    ///
    /// - Precondition: each row has as many texts as there are columns.
    public init(_ name: String, _ caption: String, _ columns: [Column], _ rows: [[String]] = []) {
        precondition(rows.allSatisfy { $0.count == columns.count }, "\(name): a row has other columns")
        self.name = name
        self.caption = caption
        self.columns = columns
        self.rows = rows
    }

    /// Adds a row.
    public mutating func append(_ row: [String]) {
        precondition(row.count == columns.count, "\(name): a row has other columns")
        rows.append(row)
    }

    /// Keeps so many rows, and says how many others there are.
    public mutating func limit(to count: Int) {
        guard rows.count > count else { return }
        rest = "and \(rows.count - count) more"
        rows.removeLast(rows.count - count)
    }

    /// The table as text in columns: its name, a line of titles, the rows. Nothing for no rows.
    public var text: String {
        guard !rows.isEmpty else { return "" }
        let titles = columns.map { $0.title.uppercased().replacing(" ", with: "-") }
        let all = [titles] + rows
        let widths = columns.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        let lines = all.map { row in
            var line = columns.indices.map { column in
                let blanks = String(repeating: " ", count: widths[column] - row[column].count)
                return columns[column].hasFigures ? blanks + row[column] : row[column] + blanks
            }.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }
        return "\n\(name)\n" + lines.joined() + (rest.isEmpty ? "" : rest + "\n")
    }

    /// The table as comma-separated values (RFC 4180).
    public var commaSeparated: String {
        ([columns.map(\.title)] + rows).map { Self.commaSeparated($0) }.joined()
    }

    /// A row of comma-separated values, with the end of the line.
    public static func commaSeparated(_ row: [String]) -> String {
        row.map { text in
            guard text.utf8.contains(where: { [0x22, 0x2c, 0x0a, 0x0d].contains($0) }) else { return text }
            return "\"" + text.replacing("\"", with: "\"\"") + "\""
        }.joined(separator: ",") + "\r\n"
    }

    /// The table as HTML, in a box that scrolls where it is too wide or too long.
    public var html: String {
        guard !rows.isEmpty else { return "" }
        let caption = Markup.escaped(caption)
        let head = columns.map { column in
            "<th scope=\"col\"\(column.hasFigures ? " class=\"n\"" : "")>\(Markup.escaped(column.title))</th>"
        }
        let body = rows.map { row in
            let cells = row.indices.map { index in
                let style = columns[index].hasFigures ? " class=\"n\"" : ""
                let text = Markup.escaped(row[index])
                return index == 0 ? "<th scope=\"row\"\(style)>\(text)</th>" : "<td\(style)>\(text)</td>"
            }
            return "<tr>" + cells.joined() + "</tr>\n"
        }
        return
            "<div class=\"table\" role=\"region\" tabindex=\"0\" aria-label=\"\(caption)\"><table>\n<caption><span>\(caption)</span></caption>\n"
            + "<thead><tr>\(head.joined())</tr></thead>\n<tbody>\n\(body.joined())</tbody>\n</table></div>\n"
            + (rest.isEmpty ? "" : "<p class=\"rest\">\(Markup.escaped(rest))</p>\n")
    }
}
