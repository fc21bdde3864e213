/// Figures over time, on top of each other.
public struct StackedAreaChart: Chart {
    /// One layer.
    public struct Series: Sendable {
        let name: String
        let fill: Fill
        let values: [Double]

        /// A layer with a figure for each time.
        public init(_ name: String, _ fill: Fill, _ values: [Double]) {
            self.name = name
            self.fill = fill
            self.values = values
        }
    }

    private let times: [Double]
    private let end: Double
    private let series: [Series]
    private let unit: String
    private let name: @Sendable (Double) -> String
    private let marks: [(time: Double, name: String)]

    /// Layers, the first one at the bottom.
    ///
    /// - Parameters:
    ///   - times: seconds, in order, one for each figure of a layer.
    ///   - end: the seconds at the end of the axis.
    ///   - series: the layers.
    ///   - unit: of the figures, `bytes` for those in powers of 1024.
    ///   - marks: moments that have a line of their own.
    public init(
        times: [Double], upTo end: Double, _ series: [Series], unit: String, marks: [(time: Double, name: String)] = []
    ) {
        precondition(series.allSatisfy { $0.values.count == times.count }, "a layer has figures for other times")
        self.times = times
        self.end = end
        self.series = series
        self.unit = unit
        self.marks = marks
        name = { unit == "bytes" ? Figure.bytes($0) : Figure.short($0) }
    }

    /// See ``Chart/draw(width:)``.
    public func draw(width: Double) -> (drawing: SVG, height: Double) {
        var drawing = SVG()
        let bottom = width < 600 ? 190.0 : 292
        let plot = Plot(x: 70...(width - 8), y: 12...bottom)
        let sums: [Double] = times.indices.map { index in series.reduce(0.0) { $0 + $1.values[index] } }
        let greatest: Double = sums.max() ?? 0
        let scale =
            unit == "bytes"
            ? Scale(exactlyTo: greatest * 1.05, count: 5, base: 1024) : Scale(upTo: greatest)
        let seconds = Scale(exactlyTo: end, count: 5)
        plot.drawLevels(scale, name, in: &drawing)
        var floor = [Double](repeating: 0, count: times.count)
        for layer in series where layer.values.contains(where: { $0 > 0 }) {
            let roof: [Double] = times.indices.map { floor[$0] + layer.values[$0] }
            var edge = PathData()
            for index in times.indices {
                let x = plot.place(seconds.place(times[index]))
                let y = plot.height(scale.place(roof[index]))
                if index == 0 { edge.move(x, y) } else { edge.line(x, y) }
            }
            var path = edge
            for index in times.indices.reversed() {
                path.line(plot.place(seconds.place(times[index])), plot.height(scale.place(floor[index])))
            }
            path.close()
            drawing.area(path.text, fill: layer.fill, title: layer.name)
            drawing.path(edge.text, class: "edge")
            floor = roof
        }
        for mark in marks {
            let x = plot.place(seconds.place(mark.time))
            drawing.line(from: (x, plot.y.lowerBound), to: (x, plot.y.upperBound), class: "halo")
            drawing.path(
                "M\(Markup.number(x)) \(Markup.number(plot.y.lowerBound))V\(Markup.number(plot.y.upperBound))",
                class: "moment", title: mark.name)
        }
        plot.drawSeconds(upTo: end, in: &drawing)
        plot.drawFrame(
            Plot.Readout(xEnd: end, xUnit: "s", yEnd: scale.end, yUnit: unit), in: &drawing)
        return (drawing, plot.y.upperBound + 24)
    }
}
