/// A cell of a table.
struct Cell {
    var text: String
    var style = Style.plain

    init(_ text: String, _ style: Style = .plain) { (self.text, self.style) = (text, style) }

    /// A figure, faint where it is 0.
    static func figure(_ text: String) -> Cell { Cell(text, text == "0" || text == "0%" ? .faint : .plain) }
}

/// A column of a table.
struct Column<Row> {
    let title: String
    /// Cells of the column, at least those of the title.
    let width: Int
    /// Columns of high ranks are left out first where there is no room.
    let rank: Int
    /// Whether texts begin at the left end.
    var isLeading = false
    let cell: (Row) -> Cell
    /// Whether a row comes before another one when this column sorts.
    let precedes: (Row, Row) -> Bool
    /// A picture, for eyes alone: of any width, and not on a page of plain text.
    var picture: ((Row, Int) -> Line)?
    /// Whether there is a column only where the table is at least so wide.
    var leastWidth = 0

    /// A column of texts.
    init(_ title: String, width: Int, rank: Int, text: @escaping (Row) -> String) {
        self.init(title, width: width, rank: rank, isLeading: true, cell: { Cell(text($0)) }) { text($0) < text($1) }
    }

    /// A column of figures; the largest come first when it sorts.
    init(
        _ title: String, width: Int, rank: Int, _ figure: @escaping (Row) -> Double,
        _ text: @escaping (Double) -> String
    ) {
        self.init(title, width: width, rank: rank, cell: { .figure(text(figure($0))) }) { figure($0) > figure($1) }
    }

    /// A column.
    init(
        _ title: String, width: Int, rank: Int, isLeading: Bool = false, cell: @escaping (Row) -> Cell,
        precedes: @escaping (Row, Row) -> Bool
    ) {
        self.title = title
        self.width = max(width, title.count)
        self.rank = rank
        self.isLeading = isLeading
        self.cell = cell
        self.precedes = precedes
    }
}

/// Rows of figures under their headings. The first column is as wide as there is room.
struct Table<Row> {
    let columns: [Column<Row>]
    var rows: [Row]
    /// Which column sorts; nil for the order of the rows.
    var sort: Sort?
    let cells: CellText

    /// The cells between two columns.
    private static var gap: Int { 1 }
    /// A first column of names takes no more, so that the figures stay beside them.
    private static var widestName: Int { 60 }
    /// The names that are looked at for the width of their column.
    private static var namesLookedAt: Int { 200 }

    init(_ columns: [Column<Row>], _ rows: [Row], sortedBy sort: Sort?, _ cells: CellText) {
        self.columns = columns
        self.cells = cells
        self.sort = sort
        guard let sort, columns.indices.contains(sort.column) else {
            self.rows = rows
            return
        }
        let precedes = columns[sort.column].precedes
        self.rows = rows.sorted { sort.isReversed ? precedes($1, $0) : precedes($0, $1) }
    }

    /// The columns that there is room for, and their widths.
    func layout(_ width: Int) -> [(column: Int, width: Int)] {
        var chosen: [Int] = []
        var left = width
        let wide = columns.indices.filter { columns[$0].leastWidth <= width }
        for index in wide.sorted(by: { (columns[$0].rank, $0) < (columns[$1].rank, $1) }) {
            let wanted = columns[index].width + (chosen.isEmpty ? 0 : Self.gap)
            if wanted <= left {
                chosen.append(index)
                left -= wanted
            } else if chosen.isEmpty {
                return [(index, width)]
            }
        }
        var layout = chosen.sorted().map { (column: $0, width: columns[$0].width) }
        // A picture takes what is left; else the names do.
        if let last = layout.indices.last, columns[layout[last].column].picture != nil {
            layout[last].width += left
        } else if layout.first?.column == 0, columns[0].isLeading {
            let longest = rows.prefix(Self.namesLookedAt).reduce(0) { longest, row in
                max(longest, cells.width(cells.shown(columns[0].cell(row).text)))
            }
            layout[0].width = min(layout[0].width + left, max(layout[0].width, min(longest, Self.widestName)))
        }
        return layout
    }

    /// The headings; the first one is another text where `title` says so.
    func header(_ layout: [(column: Int, width: Int)], title: String? = nil) -> String {
        layout.map { index, width in
            let column = columns[index]
            var text = index == 0 ? title ?? column.title : column.title
            if sort?.column == index { text += mark }
            return cells.fitted(text, to: width, isLeading: column.isLeading)
        }.joined(separator: String(repeating: " ", count: Self.gap))
    }

    private var mark: String {
        let isUp = sort?.isReversed ?? false
        return cells.isUnicode ? (isUp ? "▲" : "▼") : (isUp ? "^" : "v")
    }

    /// A row.
    func line(_ row: Row, _ layout: [(column: Int, width: Int)]) -> Line {
        var line = Line()
        for (place, (index, width)) in layout.enumerated() {
            if place > 0 { line.add(String(repeating: " ", count: Self.gap)) }
            if let picture = columns[index].picture {
                line.add(picture(row, width))
                continue
            }
            let cell = columns[index].cell(row)
            line.add(cells.fitted(cells.shown(cell.text), to: width, isLeading: columns[index].isLeading), cell.style)
        }
        return line
    }

    /// The whole as plain text, each column as wide as it has to be.
    var page: [String] {
        let shown = columns.indices.filter { columns[$0].picture == nil }
        let texts = rows.map { row in shown.map { cells.shown(columns[$0].cell(row).text) } }
        let widths = shown.indices.map { place in
            texts.reduce(columns[shown[place]].title.count) { max($0, cells.width($1[place])) }
        }
        return ([shown.map { columns[$0].title }] + texts).map { texts in
            Line(
                shown.indices.map { place in
                    cells.fitted(texts[place], to: widths[place], isLeading: columns[shown[place]].isLeading)
                }.joined(separator: "  ")
            ).trimmed
        }
    }
}

/// Which column of a table sorts.
package struct Sort: Hashable, Sendable {
    /// The place of the column.
    package var column: Int
    /// Whether the last rows come first.
    package var isReversed = false

    /// By a column.
    package init(column: Int, isReversed: Bool = false) { (self.column, self.isReversed) = (column, isReversed) }
}
