import Charts

/// Touches without a frame, and requests that isolation turned away.
extension ReportPage {
    mutating func addRefusals() {
        page.section("Refusals", id: "refusals")
        let list = analysis.refused.sorted { ($0.value, $1.key) > ($1.value, $0.key) }
        guard !list.isEmpty else { return page.paragraph("Nothing was refused.") }
        page.paragraph(
            "touch_refused is a touch that got no frame, isolation_refused a node that isolation kept a request from, whose pages may have "
                + "got frames of other nodes.")
        let bars = list.prefix(12).map {
            BarChart.Bar($0.key.text, Fill(.orange, .falling), Double($0.value), text: Figure.grouped($0.value))
        }
        page.add(
            Picture(
                "Refusals by cause",
                description: list.prefix(12).map { "\($0.key.text): \($0.value)" }.joined(separator: "; "),
                BarChart(
                    bars.map {
                        BarChart.Group($0.name, [BarChart.Bar("", $0.parts[0].fill, $0.length, text: $0.text)])
                    },
                    scale: Scale(upTo: bars.map(\.length).max() ?? 0), names: 0)))
        page.add(analysis.refusalTable)
    }
}
