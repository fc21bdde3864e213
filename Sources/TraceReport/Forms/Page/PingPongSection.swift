import Charts

/// Pages that came back to the node that they had left.
extension ReportPage {
    mutating func addPingPong() {
        page.section("Ping-pong", id: "ping-pong")
        let list = analysis.pingPongs
        guard !list.isEmpty else {
            return page.paragraph("No page came back to the node that it had come from.")
        }
        let classes: [(name: String, range: ClosedRange<UInt16>)] = [
            ("once", 1...1), ("2 times", 2...2), ("3 to 4 times", 3...4), ("5 to 8 times", 5...8),
            ("more often", 9...UInt16.max),
        ]
        let bars = classes.map { name, range in
            let pages = list.reduce(0 as UInt64) {
                $0 + (range.contains($1.run.returns) ? UInt64($1.run.pages.count) : 0)
            }
            return BarChart.Bar(name, Fill(.purple, .rising), Double(pages), text: "\(Figure.grouped(pages)) pages")
        }
        page.paragraph(
            "Pages that moved back to the node that they had come from with the move before. A return undoes that move, and both have cost time."
        )
        page.add(
            Picture(
                "Pages by how often they came back",
                description: zip(classes, bars).map { "\($0.name): \($1.text)" }.joined(separator: "; "),
                BarChart(
                    [BarChart.Group("", bars)], scale: Scale(upTo: bars.map(\.length).max() ?? 0), names: 110,
                    figures: 110)))
        page.add(analysis.pingPongTable)
    }
}
