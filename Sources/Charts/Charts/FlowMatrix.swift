/// What goes from where to where: a square of cells, each with a bar of its parts.
public struct FlowMatrix: Chart {
    /// A part of a cell.
    public struct Part: Sendable {
        let name: String
        let fill: Fill
        let value: Double

        /// A part.
        public init(_ name: String, _ fill: Fill, _ value: Double) {
            self.name = name
            self.fill = fill
            self.value = value
        }
    }

    private let names: [String]
    private let cells: [[[Part]]]
    private let text: @Sendable (Double) -> String

    /// A matrix.
    ///
    /// - Parameters:
    ///   - names: of the rows, where it comes from, and of the columns.
    ///   - cells: the parts by row and column.
    ///   - text: a figure in words.
    public init(_ names: [String], _ cells: [[[Part]]], text: @escaping @Sendable (Double) -> String) {
        self.names = names
        self.cells = cells
        self.text = text
    }

    /// See ``Chart/draw(width:)``.
    public func draw(width: Double) -> (drawing: SVG, height: Double) {
        var drawing = SVG()
        let left = width < 600 ? 62.0 : 90
        let top = 42.0
        // With few columns the cells are no wider than they need be.
        let wide = min((width - left - 4) / Double(max(names.count, 1)), 190)
        let high = 46.0
        let greatest = cells.joined().map { $0.reduce(0) { $0 + $1.value } }.max() ?? 0
        drawing.text("from ↓  to →", x: 0, y: top - 8)
        for (index, name) in names.enumerated() {
            drawing.text(
                SVG.fitting(name, into: wide - 8), x: left + (Double(index) + 0.5) * wide, y: top - 8, anchor: .middle,
                class: "row")
            drawing.text(SVG.fitting(name, into: left - 8), x: 0, y: top + Double(index) * high + 27, class: "row")
        }
        for (row, parts) in cells.enumerated() {
            for (column, parts) in parts.enumerated() {
                let (x, y) = (left + Double(column) * wide, top + Double(row) * high)
                drawing.path(
                    "M\(Markup.number(x + 1)) \(Markup.number(y + 1))h\(Markup.number(wide - 2))v\(Markup.number(high - 2))"
                        + "h\(Markup.number(2 - wide))z", class: "shade")
                let sum = parts.reduce(0) { $0 + $1.value }
                guard sum > 0 else {
                    drawing.text("–", x: x + wide / 2, y: y + 27, anchor: .middle)
                    continue
                }
                // Long texts give way where cells are small; the table has all of them.
                drawing.text(
                    SVG.fitting(text(sum), into: wide - 6), x: x + wide / 2, y: y + 20, anchor: .middle, class: "row")
                var start = x + 6
                for part in parts where part.value > 0 {
                    let length = max(part.value / greatest * (wide - 12), 1)
                    drawing.rectangle(
                        x: start, y: y + 27, width: length, height: 12, fill: part.fill,
                        title: "\(names[row]) to \(names[column]), \(part.name): \(text(part.value))")
                    start += length
                }
            }
        }
        return (drawing, top + high * Double(cells.count) + 4)
    }
}
