public import Charts

/// Variants of a machine or a run side by side: a table, or a page with a picture of each figure.
public struct Comparison: Sendable {
    private let title: String
    private let subtitle: String
    private let variants: [String]
    private var figures: [(name: String, unit: String, values: [Double?])] = []
    private var notes: [String] = []

    /// A comparison without figures.
    ///
    /// - Parameters:
    ///   - title: its first line.
    ///   - subtitle: a line about what is compared; may be empty.
    ///   - variants: their names, in the order of the columns.
    public init(_ title: String, subtitle: String = "", variants: [String]) {
        self.title = title
        self.subtitle = subtitle
        self.variants = variants
    }

    /// Adds a figure.
    ///
    /// - Parameters:
    ///   - name: its name.
    ///   - unit: such as `pages` or `ns`; may be empty.
    ///   - values: of each variant, nil for one that has none.
    /// - Precondition: there are as many values as variants.
    public mutating func append(_ name: String, unit: String = "", _ values: [Double?]) {
        precondition(values.count == variants.count, "\(name): other values than variants")
        figures.append((name, unit, values))
    }

    /// Adds a sentence about what the figures do not say.
    public mutating func note(_ text: String) { notes.append(text) }

    /// A row for each figure, a column for each variant.
    public var table: DataTable {
        DataTable(
            "comparison", title, ["figure"] + variants.map { .figures($0) },
            figures.map { name, unit, values in
                [name + (unit.isEmpty ? "" : ", \(unit)")]
                    + values.map { $0.map { Figure.fixed($0, digits: 3) } ?? "–" }
            })
    }

    /// A page with the table, and with bars for each figure of which any is not zero.
    public var html: String {
        var page = HTMLPage(title, subtitle: subtitle)
        page.section("Table", id: "table")
        page.add(table)
        for note in notes { page.paragraph(note) }
        page.section("Pictures", id: "pictures")
        for (name, unit, values) in figures where values.contains(where: { ($0 ?? 0) > 0 }) {
            let bars = zip(variants, values).enumerated().map { index, pair in
                let text = pair.1.map { Figure.short($0) } ?? "–"
                return BarChart.Bar(pair.0, Fill(series: index), max(pair.1 ?? 0, 0), text: text)
            }
            let title = name + (unit.isEmpty ? "" : ", \(unit)")
            let list = zip(variants, bars).map { "\($0): \($1.text)" }.joined(separator: "; ")
            page.add(
                Picture(
                    title, description: list,
                    BarChart([BarChart.Group("", bars)], scale: Scale(upTo: bars.map(\.length).max() ?? 0))))
        }
        return page.html
    }
}
