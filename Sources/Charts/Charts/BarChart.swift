/// Bars in groups, each with its name and figure: of one length, of parts, or with the spread of what was measured.
public struct BarChart: Chart {
    /// A bar.
    public struct Bar: Sendable {
        /// Its name.
        public let name: String
        /// Its figure in words.
        public let text: String
        /// Its parts, from left to right.
        public let parts: [(name: String, fill: Fill, value: Double)]
        let spread: ClosedRange<Double>?

        /// A bar of one colour.
        ///
        /// - Parameters:
        ///   - name: the name beside it.
        ///   - fill: its colour.
        ///   - value: its length, in the unit of the scale.
        ///   - text: its figure in words.
        ///   - spread: the least and the greatest of what it is the middle of.
        public init(_ name: String, _ fill: Fill, _ value: Double, text: String, spread: ClosedRange<Double>? = nil) {
            self.name = name
            self.text = text
            self.spread = spread
            parts = [(name, fill, value)]
        }

        /// A bar of parts.
        public init(_ name: String, parts: [(name: String, fill: Fill, value: Double)], text: String) {
            self.name = name
            self.text = text
            self.parts = parts
            spread = nil
        }

        /// The sum of its parts.
        public var length: Double { parts.reduce(0) { $0 + $1.value } }
        var ends: [Double] { [length] + (spread.map { [$0.lowerBound, $0.upperBound] } ?? []) }
    }

    /// Bars with a title.
    public struct Group: Sendable {
        let title: String
        let bars: [Bar]

        /// Bars with a title; an empty one for bars that need none.
        public init(_ title: String, _ bars: [Bar]) {
            self.title = title
            self.bars = bars
        }

        fileprivate var height: Double { (title.isEmpty ? 8 : 28) + BarChart.step * Double(bars.count) }
    }

    private let title: String
    private let subtitle: String
    private let groups: [Group]
    private let scale: Scale
    private let names: Double
    private let figures: Double

    private static let bar = 13.0
    private static let step = 17.0

    /// Bars.
    ///
    /// - Parameters:
    ///   - groups: the bars, in groups from the top.
    ///   - title: a line above. Empty for none.
    ///   - subtitle: the line after it. Empty for none.
    ///   - scale: the axis; nil for one from 0 to the longest bar.
    ///   - names: the width for the names, at most. Longer ones are cut.
    ///   - figures: the width for the figures.
    public init(
        _ groups: [Group], title: String = "", subtitle: String = "", scale: Scale? = nil, names: Double = 190,
        figures: Double = 70
    ) {
        self.groups = groups
        self.title = title
        self.subtitle = subtitle
        self.scale = scale ?? Scale(groups.flatMap { $0.bars.flatMap(\.ends) })
        self.names = names
        self.figures = figures
    }

    /// See ``Chart/draw(width:)``.
    public func draw(width: Double) -> (drawing: SVG, height: Double) {
        var drawing = SVG()
        var top = 4.0
        if !title.isEmpty {
            // On lines of their own: together, the longest would be wider than the drawing.
            drawing.text(title, x: 0, y: 16, class: "title")
            drawing.text(subtitle, x: 0, y: 32)
            top = 40
        }
        let bottom = groups.reduce(top) { $0 + $1.height }
        let names = min(names, width * 0.38)
        func place(_ value: Double) -> Double { names + scale.place(value) * (width - names - figures) }
        var last = -Double.infinity
        for tick in scale.ticks {
            let x = place(tick)
            drawing.line(from: (x, top), to: (x, bottom), class: "grid")
            guard x - last > 34 else { continue }
            drawing.text(Self.tickText(tick), x: x, y: bottom + 16, anchor: x < 8 ? .start : .middle)
            last = x
        }
        var y = top
        for group in groups {
            draw(group, at: y, width, names, place, &drawing)
            y += group.height
        }
        return (drawing, bottom + 26)
    }

    private func draw(
        _ group: Group, at top: Double, _ width: Double, _ names: Double, _ place: (Double) -> Double,
        _ drawing: inout SVG
    ) {
        var y = top + (group.title.isEmpty ? 4 : 22)
        if !group.title.isEmpty { drawing.text(SVG.fitting(group.title, into: width), x: 0, y: top + 16, class: "row") }
        for bar in group.bars {
            let middle = y + Self.bar / 2
            drawing.text(
                SVG.fitting(bar.name, into: names - 8), x: names - 8, y: y + Self.bar - 2, anchor: .end, title: bar.name
            )
            var (start, sum) = (names, 0.0)
            for part in bar.parts where part.value > 0 {
                sum += part.value
                let end = place(sum)
                drawing.rectangle(
                    x: start, y: y, width: max(end - start, 1), height: Self.bar, fill: part.fill,
                    title: bar.parts.count == 1
                        ? "\(part.name): \(bar.text)" : "\(part.name): \(Figure.short(part.value))")
                start = max(end, start + 1)
            }
            if let spread = bar.spread {
                let (least, greatest) = (place(spread.lowerBound), place(spread.upperBound))
                drawing.line(from: (least, middle), to: (greatest, middle), class: "spread")
                for x in [least, greatest] {
                    drawing.line(from: (x, middle - 3), to: (x, middle + 3), class: "spread")
                }
                start = max(start, greatest)
            }
            drawing.text(bar.text, x: start + 6, y: y + Self.bar - 2)
            y += Self.step
        }
    }

    private static func tickText(_ tick: Double) -> String {
        switch tick {
        case 1_000_000...: "\(Figure.short(tick / 1_000_000)) M"
        case 1000...: "\(Figure.short(tick / 1000)) k"
        default: Figure.short(tick)
        }
    }
}
