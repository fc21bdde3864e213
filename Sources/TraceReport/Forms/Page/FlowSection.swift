import Charts
import CoherentMemory

/// What moved from which node to which, by reason.
extension ReportPage {
    /// The most nodes of the matrix.
    private static let matrixLimit = 8

    mutating func addFlows() {
        page.section("Flow between nodes", id: "flow")
        let flows = analysis.moved.filter { $0.key.from != $0.key.to }
        guard !flows.isEmpty else {
            page.paragraph("No page moved from one node to another.")
            return page.add(analysis.moves)
        }
        var sums: [UInt16: UInt64] = [:]
        for (move, figures) in flows {
            for node in [move.from, move.to] { sums[node, default: 0] &+= figures.pages }
        }
        let shown = sums.sorted { ($0.value, $1.key) > ($1.value, $0.key) }.prefix(Self.matrixLimit).map(\.key).sorted()
        let reasons = MoveReason.allCases.map(\.rawValue).filter { reason in flows.contains { $0.key.reason == reason }
        }
        let cells = shown.map { from in
            shown.map { to in
                reasons.map { reason in
                    let pages = flows[TraceAnalysis.Move(from: from, to: to, reason: reason)]?.pages ?? 0
                    return FlowMatrix.Part(reason, fill(of: reason), Double(pages) * Double(Page.size))
                }
            }
        }
        page.paragraph("What moved from one node to another, and why. Moves within a node are in the table alone.")
        if sums.count > shown.count {
            page.paragraph(
                "Of \(sums.count) nodes these are the \(shown.count) with the most moves; the table has all.")
        }
        let list = flows.sorted { $0.key < $1.key }.map {
            "node \($0.key.from) to node \($0.key.to), \($0.key.reason): \(Self.bytes($0.value.pages))"
        }
        page.add(
            Picture(
                "Moved memory by reason", description: list.prefix(40).joined(separator: "; "),
                FlowMatrix(shown.map { "node \($0)" }, cells) { Figure.bytes($0) },
                legend: reasons.map { LegendKey($0, fill(of: $0)) }))
        page.add(analysis.moves)
    }
}
