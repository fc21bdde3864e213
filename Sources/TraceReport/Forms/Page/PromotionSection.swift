import Charts

/// What came of promoted pages.
extension ReportPage {
    mutating func addPromotions() {
        page.section("Promotion precision", id: "promotions")
        let list = analysis.promotedBuffers
        guard !list.isEmpty else { return page.paragraph("No page was promoted.") }
        page.paragraph(
            "Whether promoted pages were touched again before they were demoted. The machine sees a touch of a page with a frame only when the "
                + "page is not in the page cache: pages without a later event count as not seen again, and have no part in the precision. "
                + "The kernel reads ahead, so that pages beside a touched one count as touched, too.")
        let kinds: [(name: String, fill: Fill, figure: KeyPath<PageHistory.Promotions, UInt64>)] = [
            ("touched again", Fill(.green), \.touched), ("demoted before", Fill(.orange, .rising), \.demoted),
            ("moved, freed or lost before", Fill(.purple, .level), \.gone),
            ("not seen again", Fill(.grey, .dotted), \.unseen),
        ]
        func bar(_ name: String, _ figures: PageHistory.Promotions) -> BarChart.Bar {
            BarChart.Bar(
                name, parts: kinds.map { ($0.name, $0.fill, Double(figures[keyPath: $0.figure])) },
                text: "\(Figure.grouped(figures.promoted)) pages")
        }
        let sum = analysis.promotions
        let bars =
            (list.count > 1 ? [bar("all buffers", sum)] : [])
            + list.prefix(8).map { bar(analysis.name(of: $0.id), $0.figures) }
        page.add(
            Picture(
                "Promoted pages, and what came of them",
                description: "\(sum.promoted) pages were promoted: "
                    + kinds.map { "\(sum[keyPath: $0.figure]) \($0.name)" }.joined(separator: ", ") + ".",
                BarChart(
                    [BarChart.Group("", bars)], scale: Scale(upTo: bars.map(\.length).max() ?? 0), names: 160,
                    figures: 110),
                legend: kinds.map { LegendKey($0.name, $0.fill) }))
        page.add(analysis.promotionTable)
    }
}
