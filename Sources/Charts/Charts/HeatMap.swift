/// A raster over time whose cells are of kinds, with marks on it.
public struct HeatMap: Chart {
    /// A cell.
    public struct Cell: Sendable, Hashable {
        /// The number of its kind.
        public var kind: Int
        /// The number of the kind of a smaller part of it.
        public var second: Int?

        /// A cell.
        public init(kind: Int, second: Int? = nil) {
            self.kind = kind
            self.second = second
        }
    }

    /// A kind of cells.
    public struct Kind: Sendable {
        /// Its name.
        public let name: String
        /// How it looks.
        public let fill: Fill

        /// A kind.
        public init(_ name: String, _ fill: Fill) {
            self.name = name
            self.fill = fill
        }
    }

    private let rows: [[Cell?]]
    private let kinds: [Kind]
    private let moves: [(row: Int, column: Int)]
    private let failures: [(row: Int, column: Int)]
    private let seconds: Double
    private let covered: Double
    private let span: Double

    /// A raster.
    ///
    /// - Parameters:
    ///   - rows: the cells by row, the first one on top, and column; all rows have as many.
    ///   - kinds: what cells may be.
    ///   - seconds: what the axis of time ends with.
    ///   - covered: the time of all columns, not less than `seconds`.
    ///   - span: what the rows cover, in bytes.
    ///   - moves: the cells with a small mark, a dot.
    ///   - failures: the cells with a large mark, a cross.
    public init(
        _ rows: [[Cell?]], kinds: [Kind], seconds: Double, covered: Double, span: Double,
        moves: [(row: Int, column: Int)] = [], failures: [(row: Int, column: Int)] = []
    ) {
        self.rows = rows
        self.kinds = kinds
        self.moves = moves
        self.failures = failures
        self.seconds = seconds
        self.covered = covered
        self.span = span
    }

    /// The key of the small marks.
    public static func key(ofMoves name: String) -> LegendKey {
        LegendKey(name, .symbol("M8 4l4 4-4 4-4-4z", class: "dots"))
    }

    /// The key of the large marks.
    public static func key(ofFailures name: String) -> LegendKey {
        LegendKey(name, .symbol("M3 3l10 10M13 3l-10 10", class: "mark"))
    }

    /// See ``Chart/draw(width:)``.
    public func draw(width: Double) -> (drawing: SVG, height: Double) {
        var drawing = SVG()
        let columns = rows.first?.count ?? 0
        // Whole pixels, so that there are no seams between rows.
        let high = max((width < 600 ? 190 : 256) / Double(max(rows.count, 4)), 4).rounded(.down)
        let tall = high * Double(max(rows.count, 1))
        var strips = [PathData](repeating: PathData(), count: kinds.count)
        let plot = Plot(x: 70...width - 8, y: 8...8 + tall)
        drawing.path(
            "M\(Markup.number(plot.x.lowerBound)) \(Markup.number(plot.y.lowerBound))H\(Markup.number(plot.x.upperBound))"
                + "V\(Markup.number(plot.y.upperBound))H\(Markup.number(plot.x.lowerBound))z", class: "shade")
        let step =
            (plot.x.upperBound - plot.x.lowerBound) / Double(max(columns, 1)) * covered
            / max(seconds, .leastNormalMagnitude)
        func left(_ column: Int) -> Double { min(plot.x.lowerBound + Double(column) * step, plot.x.upperBound) }
        func top(_ row: Int) -> Double { plot.y.lowerBound + Double(row) * high }

        drawing.group(class: "crisp") { drawing in
            for (number, kind) in kinds.enumerated() {
                var path = PathData()
                forEachRun({ $0?.kind == number }) { row, columns in
                    let start = left(columns.lowerBound)
                    path.rectangle(start, top(row), left(columns.upperBound) - start, high)
                }
                // The smaller part is a strip at the bottom.
                forEachRun({ $0?.second == number }) { row, columns in
                    let start = left(columns.lowerBound)
                    let strip = (high / 3).rounded(.up)
                    strips[number].rectangle(start, top(row) + high - strip, left(columns.upperBound) - start, strip)
                }
                if !path.text.isEmpty { drawing.area(path.text, fill: kind.fill, title: kind.name) }
            }
            for (number, kind) in kinds.enumerated() where !strips[number].text.isEmpty {
                drawing.area(strips[number].text, fill: kind.fill, title: kind.name)
            }
        }
        drawing.group(class: "marks") { drawing in
            if !moves.isEmpty {
                let size = min(max(min(step, high) / 2, 1.5), 4)
                let parts = moves.map { mark in
                    let (x, y) = (left(mark.column) + step / 2, top(mark.row) + high / 2)
                    return
                        "M\(Markup.number(x)) \(Markup.number(y - size))l\(Markup.number(size)) \(Markup.number(size))"
                        + "-\(Markup.number(size)) \(Markup.number(size))-\(Markup.number(size))-\(Markup.number(size))z"
                }
                drawing.path(parts.joined(), class: "dots")
            }
            if !failures.isEmpty {
                var path = PathData()
                for mark in failures {
                    let (x, y) = (left(mark.column) + step / 2, top(mark.row) + high / 2)
                    path.move(x - 4, y - 4)
                    path.line(x + 4, y + 4)
                    path.move(x + 4, y - 4)
                    path.line(x - 4, y + 4)
                }
                drawing.path(path.text, class: "halo")
                drawing.path(path.text, class: "mark")
            }
        }
        let scale = Scale(exactlyTo: span, count: max(2, min(4, tall / 40)), base: 1024)
        for tick in scale.ticks {
            let y = plot.y.lowerBound + scale.place(tick) * tall
            drawing.line(from: (plot.x.lowerBound - 4, y), to: (plot.x.lowerBound, y), class: "axis")
            drawing.text(
                tick == 0 ? "0" : Figure.bytes(tick), x: plot.x.lowerBound - 7, y: y + (tick == 0 ? 8 : 4), anchor: .end
            )
        }
        plot.drawSeconds(upTo: seconds, in: &drawing)
        plot.drawFrame(
            Plot.Readout(
                xEnd: seconds, xUnit: "s", yEnd: span, yUnit: "bytes", yName: "offset ", isDown: true), in: &drawing)
        return (drawing, plot.y.upperBound + 24)
    }

    private func forEachRun(_ isWanted: (Cell?) -> Bool, _ body: (Int, Range<Int>) -> Void) {
        for (row, cells) in rows.enumerated() {
            var start: Int?
            for column in 0...cells.count {
                if column < cells.count, isWanted(cells[column]) {
                    if start == nil { start = column }
                } else if let first = start {
                    body(row, first..<column)
                    start = nil
                }
            }
        }
    }
}
