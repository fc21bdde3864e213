import Charts
import CoherentMemory

/// When nodes lost their memory, and when they had as much as before.
extension ReportPage {
    mutating func addRecovery() {
        page.section("Loss and recovery", id: "recovery")
        let (bins, episodes) = (analysis.bins, analysis.recovery.episodes)
        if episodes.isEmpty {
            page.paragraph("No memory block went offline, and no link was lost.")
        } else {
            page.paragraph(
                "The times in which nodes lost their memory. A node has recovered when it has got as many pages as moved away or were lost."
            )
            let lines = Set(episodes.map(\.node)).sorted().prefix(16).map(timeline)
            let list = episodes.prefix(20).map { episode in
                "node \(episode.node), \(episode.cause.rawValue) at \(Figure.short(bins.seconds(of: episode.began))) s: "
                    + (episode.recovered.map {
                        "recovered after \(Figure.duration(Double($0 - min($0, episode.began)) / 1e9))"
                    }
                        ?? (episode.hasFailed ? "failed" : "not recovered"))
            }
            page.add(
                Picture(
                    "Nodes without their memory", description: list.joined(separator: "; "),
                    TimelineChart(lines, upTo: bins.duration),
                    legend: Phase.allCases.map { LegendKey($0.rawValue, $0.fill) }
                        + [HeatMap.key(ofFailures: "failed page or stalled link")]))
            page.add(analysis.recoveryTable)
            if analysis.recovery.omitted > 0 { page.paragraph("and \(analysis.recovery.omitted) more times") }
        }
        page.add(analysis.timeline)
    }

    /// What a node goes through.
    private enum Phase: String, CaseIterable {
        case going = "pages move away"
        case away = "memory away"
        case linkUp = "link up, memory away"
        case recovering = "online, pages come back"

        var fill: Fill {
            switch self {
            case .going: Fill(.amber, .rising)
            case .away: Fill(.orange)
            case .linkUp: Fill(.purple, .falling)
            case .recovering: Fill(.cyan, .dotted)
            }
        }
    }

    /// The times of a node without its memory.
    private func timeline(of node: UInt16) -> TimelineChart.Line {
        let bins = analysis.bins
        let own = analysis.recovery.episodes.filter { $0.node == node }
        var spans: [TimelineChart.Span] = []
        func add(_ phase: Phase, _ from: UInt64, _ to: UInt64) {
            guard to > from else { return }
            spans.append(
                TimelineChart.Span(
                    phase.rawValue, phase.fill, from: bins.seconds(of: from), to: bins.seconds(of: to)))
        }
        for (index, episode) in own.enumerated() {
            let end = index + 1 < own.count ? own[index + 1].began : bins.last
            let online = min(episode.online ?? end, end)
            if episode.hasFailed {
                add(.going, episode.began, min(episode.began + bins.width, end))
                continue
            }
            let gone = episode.cause == .offlining ? min(episode.away ?? online, online) : episode.began
            let up = min(max(episode.linkUp ?? online, gone), online)
            add(.going, episode.began, gone)
            add(.away, gone, up)
            add(.linkUp, up, online)
            if episode.online != nil { add(.recovering, online, min(episode.recovered ?? end, end)) }
        }
        let marks = analysis.moments.filter { Int($0.node) == Int(node) && $0.kind.isFailure }.prefix(40).map {
            (time: bins.seconds(of: $0.time), name: "\($0.kind.name) \($0.fields)")
        }
        let sums = own.reduce((moved: 0 as UInt64, lost: 0 as UInt64)) { ($0.moved &+ $1.moved, $0.lost &+ $1.lost) }
        return TimelineChart.Line(
            "node \(node): \(Self.bytes(sums.moved)) moved away, \(Self.bytes(sums.lost)) lost", spans, marks: marks)
    }
}

extension TraceEvent.Kind {
    /// Whether it is a failure of a page or of a link.
    fileprivate var isFailure: Bool {
        switch self {
        case .pagePoisoned, .pageRetired, .pageCorrected, .linkStalled: true
        default: false
        }
    }
}
