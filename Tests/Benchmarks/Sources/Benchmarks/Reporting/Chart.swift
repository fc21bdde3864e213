import Foundation

/// Bars of the rows of one group that have one unit: the median, and a line from the least to the greatest.
struct Chart {
    let fileName: String
    let title: String
    private let unit: Unit
    private let columns: [Contestant]
    private let outcomes: [Outcome]

    /// The plots of a group's table, a plot for each unit.
    static func all(of section: Section) -> [Chart] {
        let measured = section.outcomes.filter { !$0.samples.isEmpty }
        var units: [Unit] = []
        for outcome in measured where !units.contains(outcome.row.unit) { units.append(outcome.row.unit) }
        return units.map { unit in
            let name = "\(section.group.name)-\(unit.fileName).svg"
            return Chart(
                fileName: name, title: section.group.title, unit: unit, columns: section.columns,
                outcomes: measured.filter { $0.row.unit == unit })
        }
    }

    private static let width = 860.0
    private static let top = 40.0
    private static let names = 190.0
    private static let figures = 70.0
    private static let bar = 13.0
    private static let step = 17.0

    func svg() -> String {
        var drawing = SVG()
        let scale = Scale(
            outcomes.flatMap { outcome in outcome.samples.values.map { Summary($0).maximum } }
                + outcomes.flatMap { outcome in outcome.samples.values.map { Summary($0).minimum } })
        let better = unit.isRate ? "more is better" : "less is better"
        let kind = scale.isLogarithmic ? ", logarithmic" : ""
        // On a line of its own: with the unit, the longest titles would be wider than the drawing.
        drawing.text(title, x: 0, y: 16, class: "title")
        drawing.text("\(unit.rawValue), \(better)\(kind)", x: 0, y: 32)

        let bottom = outcomes.reduce(Self.top) { $0 + Self.height(of: $1) }
        for tick in scale.ticks {
            let x = place(tick, scale)
            drawing.line(from: (x, Self.top), to: (x, bottom), class: "grid")
            drawing.text(Self.tickText(tick), x: x, y: bottom + 16, anchor: .middle)
        }
        var y = Self.top
        for outcome in outcomes {
            draw(outcome, at: y, scale, &drawing)
            y += Self.height(of: outcome)
        }
        return drawing.document(width: Self.width, height: bottom + 26, title: title)
    }

    private static func height(of outcome: Outcome) -> Double { 28 + step * Double(outcome.samples.count) }

    private func draw(_ outcome: Outcome, at top: Double, _ scale: Scale, _ drawing: inout SVG) {
        drawing.text(outcome.row.title, x: 0, y: top + 16, class: "row")
        var y = top + 22
        for contestant in columns {
            guard let summary = outcome.summary(of: contestant) else { continue }
            let middle = y + Self.bar / 2
            let (least, greatest) = (place(summary.minimum, scale), place(summary.maximum, scale))
            let end = place(summary.median, scale)
            drawing.text(contestant.name, x: Self.names - 8, y: y + Self.bar - 2, anchor: .end)
            drawing.rectangle(
                x: Self.names, y: y, width: max(end - Self.names, 1), height: Self.bar,
                fill: Self.colour(of: contestant))
            drawing.line(from: (least, middle), to: (greatest, middle), class: "spread")
            for x in [least, greatest] {
                drawing.line(from: (x, middle - 3), to: (x, middle + 3), class: "spread")
            }
            drawing.text(Unit.text(summary.median), x: max(end, greatest) + 6, y: y + Self.bar - 2)
            y += Self.step
        }
    }

    private func place(_ value: Double, _ scale: Scale) -> Double {
        Self.names + scale.place(value) * (Self.width - Self.names - Self.figures)
    }

    private static func tickText(_ tick: Double) -> String {
        switch tick {
        case 1_000_000...: String(format: "%g M", tick / 1_000_000)
        case 1000...: String(format: "%g k", tick / 1000)
        default: String(format: "%g", tick)
        }
    }

    /// Greys for the limits, cold colours for ours, warm ones for the other peers.
    private static func colour(of contestant: Contestant) -> String {
        switch contestant {
        case .tmpfs: "#b1bac4"
        case .hugeTmpfs: "#9198a1"
        case .wide: "#60a5fa"
        case .direct: "#14b8a6"
        case .hugeDirect: "#059669"
        case .ring: "#8b5cf6"
        case .memfs: "#f59e0b"
        case .memfsRing: "#ea580c"
        case .passthrough: "#ef4444"
        case .plainThreads: "#c08457"
        case .plainLoop: "#a16207"
        default: contestant.isOurs ? "#2f81f7" : "#a16207"
        }
    }
}
