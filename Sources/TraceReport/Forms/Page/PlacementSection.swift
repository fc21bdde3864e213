import Charts

/// The used memory of each node over time.
extension ReportPage {
    mutating func addPlacement() {
        page.section("Placement over time", id: "placement")
        let columns = analysis.samples.columns
        guard columns.count > 1 else {
            return page.paragraph("There are fewer than two samples of the counters: nothing can be drawn over time.")
        }
        let shown = nodes.filter { node in columns.contains { $0.allocated[node, default: 0] > 0 } }
        let series = shown.map { node in
            StackedAreaChart.Series(
                "node \(node)", fill(of: node), columns.map { $0.allocated[node, default: 0] })
        }
        let marks = analysis.recovery.episodes.prefix(20).map { episode in
            (time: analysis.bins.seconds(of: episode.began), name: "node \(episode.node): \(episode.cause.rawValue)")
        }
        let list = shown.map { node in
            let values = columns.map { $0.allocated[node, default: 0] }
            return "node \(node) from \(Figure.bytes(values.first ?? 0)) to \(Figure.bytes(values.last ?? 0)), at most "
                + Figure.bytes(values.max() ?? 0)
        }
        page.paragraph("The used memory of each node, as the counters have it, on top of each other.")
        page.add(
            Picture(
                "Used memory by node",
                description: "Over \(Figure.duration(analysis.bins.duration)): \(list.joined(separator: "; ")).",
                StackedAreaChart(
                    times: columns.map { analysis.bins.seconds(of: $0.time) }, upTo: analysis.bins.duration, series,
                    unit: "bytes", marks: marks),
                legend: shown.map { LegendKey("node \($0)", fill(of: $0)) }
                    + (marks.isEmpty
                        ? [] : [LegendKey("memory goes: link loss or offlining", .symbol("M8 0v16", class: "moment"))]))
        )
        page.add(analysis.placement)
    }
}
