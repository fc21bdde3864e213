import Charts

/// The plot of the rows of one group that have one unit: bars of the median, and a line from the least to the greatest.
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

    func svg() -> String {
        let groups = outcomes.map { outcome in
            let bars = columns.compactMap { contestant in
                outcome.summary(of: contestant).map { summary in
                    BarChart.Bar(
                        contestant.name, Self.fill(of: contestant), summary.median, text: Unit.text(summary.median),
                        spread: summary.minimum...summary.maximum)
                }
            }
            return BarChart.Group(outcome.row.title.replacing("`", with: ""), bars)
        }
        // The median, which is between them, has no part in where the axis begins.
        let scale = Scale(
            outcomes.flatMap { outcome in
                outcome.samples.values.flatMap { [Summary($0).minimum, Summary($0).maximum] }
            })
        let better = unit.isRate ? "more is better" : "less is better"
        let kind = scale.isLogarithmic ? ", logarithmic" : ""
        let chart = BarChart(
            groups, title: title, subtitle: "\(unit.rawValue), \(better)\(kind)", scale: scale)
        let (drawing, height) = chart.draw(width: Self.width)
        return drawing.document(width: Self.width, height: height, title: title)
    }

    /// Greys for the limits, cold colours for ours, warm ones for the other peers.
    private static func fill(of contestant: Contestant) -> Fill {
        switch contestant {
        case .tmpfs: Fill(.silver)
        case .hugeTmpfs: Fill(.silver, .level)
        case .wide: Fill(.blue, .rising)
        case .direct: Fill(.green)
        case .hugeDirect: Fill(.green, .level)
        case .ring: Fill(.cyan)
        case .memfs: Fill(.amber)
        case .memfsRing: Fill(.amber, .rising)
        case .passthrough: Fill(.purple)
        case .plainThreads: Fill(.orange, .dotted)
        case .plainLoop: Fill(.orange)
        default: contestant.isOurs ? Fill(.blue) : Fill(.orange)
        }
    }
}
