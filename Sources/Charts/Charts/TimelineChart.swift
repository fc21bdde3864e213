/// What was the state of what, over time: a line for each, with spans and marks.
public struct TimelineChart: Chart {
    /// A time in one state.
    public struct Span: Sendable {
        let start: Double
        let end: Double
        let name: String
        let fill: Fill

        /// A span of seconds.
        public init(_ name: String, _ fill: Fill, from start: Double, to end: Double) {
            self.name = name
            self.fill = fill
            self.start = start
            self.end = max(start, end)
        }
    }

    /// A line.
    public struct Line: Sendable {
        let name: String
        let spans: [Span]
        let marks: [(time: Double, name: String)]

        /// A line, with moments that have a cross.
        public init(_ name: String, _ spans: [Span], marks: [(time: Double, name: String)] = []) {
            self.name = name
            self.spans = spans
            self.marks = marks
        }
    }

    private let lines: [Line]
    private let end: Double

    /// Lines, with an axis of time that ends with `end` seconds.
    public init(_ lines: [Line], upTo end: Double) {
        self.lines = lines
        self.end = end
    }

    /// See ``Chart/draw(width:)``.
    public func draw(width: Double) -> (drawing: SVG, height: Double) {
        var drawing = SVG()
        let high = 52.0
        let plot = Plot(x: 8...width - 8, y: 4...4 + high * Double(lines.count))
        let scale = Scale(exactlyTo: end, count: 5)
        func place(_ time: Double) -> Double { plot.place(scale.place(time)) }
        for (index, line) in lines.enumerated() {
            let top = plot.y.lowerBound + Double(index) * high
            drawing.text(
                SVG.fitting(line.name, into: width - 16), x: plot.x.lowerBound, y: top + 16, class: "row",
                title: line.name)
            drawing.path(
                "M\(Markup.number(plot.x.lowerBound)) \(Markup.number(top + 24))H\(Markup.number(plot.x.upperBound))v20"
                    + "H\(Markup.number(plot.x.lowerBound))z", class: "shade")
            var last = plot.x.lowerBound
            for span in line.spans {
                // However short it is, it is seen, and what comes after it is behind it.
                let start = max(place(span.start), last)
                let width = max(place(span.end) - start, 3)
                drawing.rectangle(
                    x: start, y: top + 24, width: min(width, plot.x.upperBound - start), height: 20, fill: span.fill,
                    title: "\(span.name), \(Figure.duration(span.end - span.start))")
                last = start + width
            }
            for mark in line.marks {
                let x = min(max(place(mark.time), plot.x.lowerBound + 5), plot.x.upperBound - 5)
                let path = "M\(Markup.number(x - 4)) \(Markup.number(top + 30))l8 8m0-8l-8 8"
                drawing.path(path, class: "halo")
                drawing.path(path, class: "mark", title: mark.name)
            }
        }
        plot.drawSeconds(upTo: end, in: &drawing)
        plot.drawFrame(Plot.Readout(xEnd: end, xUnit: "s"), in: &drawing)
        return (drawing, plot.y.upperBound + 24)
    }
}
