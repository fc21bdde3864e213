import Charts
import CoherentMemory
import LinuxSupport

/// A recorded trace as a page with pictures.
public struct ReportPage {
    private let analysis: TraceAnalysis
    private let nodes: [Int]
    private var page: HTMLPage

    /// The most buffers that have a raster.
    private static let rasterLimit = 8
    /// The most nodes of the matrix.
    private static let matrixLimit = 8

    /// The page of an analysis that is finished.
    ///
    /// - Parameter name: of the trace, for the title.
    public init(_ analysis: TraceAnalysis, name: String) {
        self.analysis = analysis
        nodes = analysis.allNodes
        page = HTMLPage("Memory of \(Self.isolated(name.printable))", subtitle: Self.subtitle(of: analysis))
        addHead()
        guard analysis.eventCount > 0 || analysis.samples.count > 0 else {
            page.notice("The trace is empty: nothing was recorded, neither events nor samples of the counters.")
            return
        }
        addPlacement()
        addRasters()
        addFlows()
        addPingPong()
        addPromotions()
        addRefusals()
        addRecovery()
        addTables()
        addMethod()
    }

    /// The page in HTML.
    public var html: String { page.html }

    // MARK: Words

    private static func isolated(_ text: String) -> String { "\u{2068}\(text)\u{2069}" }

    private static func fact(_ name: String, of analysis: TraceAnalysis) -> String? {
        analysis.facts.first { $0.name == name && !$0.value.isEmpty }?.value
    }

    private static func subtitle(of analysis: TraceAnalysis) -> String {
        let command = fact("command", of: analysis).map { "What “\(isolated($0.printable))” did" } ?? "What happened"
        return "\(command) to the memory of a simulated machine, recorded with cdmfs."
    }

    private static func date(_ nanoseconds: UInt64) -> String {
        let (days, second) = (nanoseconds / 1_000_000_000).quotientAndRemainder(dividingBy: 86_400)
        // Years that begin in March, in eras of 400 (Howard Hinnant, chrono-compatible low-level date algorithms).
        let (era, day) = (days + 719_468).quotientAndRemainder(dividingBy: 146_097)
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365
        let dayOfYear = day - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        func two(_ number: UInt64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(era * 400 + year + (month < 10 ? 0 : 1))-\(two(month < 10 ? month + 3 : month - 9))-"
            + "\(two(dayOfYear - (153 * month + 2) / 5 + 1)) \(two(second / 3600)):\(two(second / 60 % 60)):\(two(second % 60)) UTC"
    }

    private func fill(of node: Int) -> Fill { Fill(series: nodes.firstIndex(of: node) ?? nodes.count) }
    private func fill(of reason: String) -> Fill {
        Fill(series: MoveReason.allCases.firstIndex { $0.rawValue == reason } ?? MoveReason.allCases.count)
    }

    private static func bytes(_ pages: UInt64) -> String { Figure.bytes(Double(pages) * Double(Page.size)) }

    // MARK: Sections

    private mutating func addHead() {
        for note in analysis.notes { page.notice(note) }
        var facts: [(name: String, value: String)] = []
        if let time = Self.fact("realtime_ns", of: analysis).flatMap({ UInt64($0) }) {
            facts.append(("Recorded", Self.date(time)))
        }
        for (name, title) in [("command", "Command"), ("mountpoint", "Mount point"), ("version", "Version of cdmfs")] {
            if let value = Self.fact(name, of: analysis) { facts.append((title, Self.isolated(value.printable))) }
        }
        page.facts(facts)
        let promotions = analysis.promotions
        var figures: [(name: String, value: String)] = [
            ("Duration", Figure.duration(analysis.bins.duration)),
            ("Events", Figure.grouped(analysis.eventCount)),
            ("First touched", Self.bytes(analysis.placedPages)),
            ("Moved between nodes", Self.bytes(analysis.movedPages)),
            ("Refusals", Figure.grouped(analysis.refusals)),
            ("Lost memory", Self.bytes(analysis.lostPages)),
        ]
        if promotions.promoted > 0 {
            figures.append(
                (
                    "Promotion precision",
                    Figure.percent(Double(promotions.touched), of: Double(promotions.touched + promotions.demoted))
                ))
        }
        page.figures(figures)
    }

    private mutating func addPlacement() {
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

    private mutating func addRasters() {
        page.section("Buffers: offset and time", id: "buffers")
        let list = analysis.largestBuffers(Self.rasterLimit)
        guard !list.isEmpty else { return page.paragraph("No event is of a buffer.") }
        let count = analysis.buffers.count
        page.paragraph(
            "Where the pages of \(count > list.count ? "the \(list.count) largest of \(count) buffers" : "each buffer") were: the node that "
                + "has the most pages of a part of the offsets, at the end of a step of the time, and in a strip at the bottom the node with the "
                + "second most. Pages that had their frames before the record began are seen from their first event on. Buffers with few pages "
                + "at far offsets, such as the memory of programs, have no picture.")
        for (id, track) in list { add(track, name: analysis.name(of: id)) }
        page.part("Buffers with the most events")
        page.add(analysis.bufferTable)
    }

    private mutating func add(_ track: BufferTrack, name: String) {
        let raster = track.raster
        let (bins, places) = (analysis.bins, analysis.nodes.nodes)
        let span = Double(UInt64(raster.rowCount) << raster.shift) * Double(Page.size)
        // Small numbers of a kind come first, so that the picture is as in the legend.
        let order = places.indices.sorted { places[$0] < places[$1] }
        var rows = [[HeatMap.Cell?]](
            repeating: [HeatMap.Cell?](repeating: nil, count: bins.count), count: raster.rowCount)
        var (moves, failures): ([(row: Int, column: Int)], [(row: Int, column: Int)]) = ([], [])
        var used: Set<Int> = []
        for (index, column) in raster.columns.enumerated() where column.bin < bins.count {
            let next = index + 1 < raster.columns.count ? min(raster.columns[index + 1].bin, bins.count) : bins.count
            for row in 0..<raster.rowCount {
                if column.moves[row] > 0 { moves.append((row, column.bin)) }
                if column.failures[row] > 0 { failures.append((row, column.bin)) }
                let pages = order.map { column.pages(row, $0) }
                let sum = pages.reduce(0, +)
                guard sum > 0, let most = pages.indices.max(by: { pages[$0] < pages[$1] }) else { continue }
                used.insert(most)
                // What is less than an eighth is nothing to see.
                let others = pages.indices.filter { $0 != most && pages[$0] > sum / 8 }
                let second = others.max { pages[$0] < pages[$1] }
                if let second { used.insert(second) }
                let cell = HeatMap.Cell(kind: most, second: second)
                for bin in column.bin..<next { rows[row][bin] = cell }
            }
        }
        let kinds = order.map { HeatMap.Kind("node \(places[$0])", fill(of: Int(places[$0]))) }
        var legend = used.sorted().map { LegendKey(kinds[$0].name, kinds[$0].fill) }
        if !moves.isEmpty { legend.append(HeatMap.key(ofMoves: "pages moved")) }
        if !failures.isEmpty { legend.append(HeatMap.key(ofFailures: "failed, lost or refused")) }
        page.add(
            Picture(
                "\(Self.isolated(name)), \(Self.bytes(track.mostResident)) at most: node by offset and time",
                description:
                    "\(name): \(track.placed) pages got frames, \(track.moved) moved, \(track.lost) were lost, \(track.refused) "
                    + "requests were refused.",
                HeatMap(
                    rows, kinds: kinds, seconds: bins.duration, covered: Double(bins.count) * bins.binDuration,
                    span: span,
                    moves: moves, failures: failures),
                legend: legend, marks: moves.isEmpty && failures.isEmpty ? nil : "show moves and failures"))
        page.add(table(of: raster, order))
    }

    /// The pages of a buffer by node over time, with what happened in each step.
    private func table(of raster: BufferRaster, _ order: [Int]) -> DataTable {
        let (places, bins) = (analysis.nodes.nodes, analysis.bins)
        let used = order.filter { place in
            raster.columns.contains { column in (0..<raster.rowCount).contains { column.pages($0, place) > 0 } }
        }
        var table = DataTable(
            "raster", "Pages by node at the end of a step, and what happened in it",
            [.figures("until second")] + used.map { .figures("node\(places[$0])") } + [
                .figures("moved"), .figures("failed"),
            ])
        let step = (raster.columns.count + 11) / 12
        for start in stride(from: 0, to: raster.columns.count, by: max(step, 1)) {
            let columns = raster.columns[start..<min(start + step, raster.columns.count)]
            guard let last = columns.last else { continue }
            func sum(_ figure: (BufferRaster.Column, Int) -> UInt64) -> UInt64 {
                columns.reduce(0) { sum, column in (0..<raster.rowCount).reduce(sum) { $0 &+ figure(column, $1) } }
            }
            table.append(
                [Figure.fixed(min(Double(last.bin + 1) * bins.binDuration, bins.duration), digits: 3)]
                    + used.map { place in "\((0..<raster.rowCount).reduce(0) { $0 &+ last.pages($1, place) })" }
                    + ["\(sum { UInt64($0.moves[$1]) })", "\(sum { UInt64($0.failures[$1]) })"])
        }
        return table
    }

    private mutating func addFlows() {
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

    private mutating func addPingPong() {
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

    private mutating func addPromotions() {
        page.section("Promotion precision", id: "promotions")
        let list = analysis.promotedBuffers
        guard !list.isEmpty else { return page.paragraph("No page was promoted.") }
        page.paragraph(
            "Whether promoted pages were touched again before they were demoted. The machine sees a touch of a page with a frame only when the "
                + "page is not in the page cache: pages that nobody has looked at since count as not seen again, and have no part in the precision. "
                + "The kernel reads ahead, so that pages beside a touched one count as touched, too.")
        let kinds: [(name: String, fill: Fill, figure: KeyPath<PageMap.Promotions, UInt64>)] = [
            ("touched again", Fill(.green), \.touched), ("demoted before", Fill(.orange, .rising), \.demoted),
            ("moved, freed or lost before", Fill(.purple, .level), \.gone),
            ("not seen again", Fill(.grey, .dotted), \.unseen),
        ]
        func bar(_ name: String, _ figures: PageMap.Promotions) -> BarChart.Bar {
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

    private mutating func addRefusals() {
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

    private mutating func addRecovery() {
        page.section("Loss and recovery", id: "recovery")
        let (bins, episodes) = (analysis.bins, analysis.recovery.episodes)
        if episodes.isEmpty {
            page.paragraph("No memory block went offline, and no link was lost.")
        } else {
            page.paragraph(
                "The times in which nodes lost their memory. A node has recovered when it has got as many pages as moved away or were lost."
            )
            typealias Kind = (name: String, fill: Fill)
            let (going, away, linkUp, recovering): (Kind, Kind, Kind, Kind) = (
                ("pages move away", Fill(.amber, .rising)), ("memory away", Fill(.orange)),
                ("link up, memory away", Fill(.purple, .falling)), ("online, pages come back", Fill(.cyan, .dotted))
            )
            let shown = Set(episodes.map(\.node)).sorted().prefix(16)
            let lines = shown.map { node in
                let own = episodes.filter { $0.node == node }
                var spans: [TimelineChart.Span] = []
                func add(_ kind: Kind, _ from: UInt64, _ to: UInt64) {
                    guard to > from else { return }
                    spans.append(
                        TimelineChart.Span(kind.name, kind.fill, from: bins.seconds(of: from), to: bins.seconds(of: to))
                    )
                }
                for (index, episode) in own.enumerated() {
                    let end = index + 1 < own.count ? own[index + 1].began : bins.last
                    let online = min(episode.online ?? end, end)
                    if episode.hasFailed {
                        add(going, episode.began, min(episode.began + bins.width, end))
                        continue
                    }
                    let gone = episode.cause == .offlining ? min(episode.away ?? online, online) : episode.began
                    let up = min(max(episode.linkUp ?? online, gone), online)
                    add(going, episode.began, gone)
                    add(away, gone, up)
                    add(linkUp, up, online)
                    if episode.online != nil { add(recovering, online, min(episode.recovered ?? end, end)) }
                }
                let marks = analysis.moments.filter { Int($0.node) == Int(node) && $0.kind.isFailure }.prefix(40).map {
                    (time: bins.seconds(of: $0.time), name: "\($0.kind.name) \($0.fields)")
                }
                let sums = own.reduce((moved: 0 as UInt64, lost: 0 as UInt64)) {
                    ($0.moved &+ $1.moved, $0.lost &+ $1.lost)
                }
                return TimelineChart.Line(
                    "node \(node): \(Self.bytes(sums.moved)) moved away, \(Self.bytes(sums.lost)) lost", spans,
                    marks: marks)
            }
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
                    legend: [going, away, linkUp, recovering].map { LegendKey($0.name, $0.fill) }
                        + [HeatMap.key(ofFailures: "failed page or stalled link")]))
            page.add(analysis.recoveryTable)
            if analysis.recovery.omitted > 0 { page.paragraph("and \(analysis.recovery.omitted) more times") }
        }
        page.add(analysis.timeline)
    }

    private mutating func addTables() {
        page.section("Sums", id: "sums")
        page.add(analysis.events)
        page.add(analysis.touches)
        page.add(analysis.commandTable)
        let check = analysis.check
        guard !check.rows.isEmpty else { return }
        page.part("Events and counters")
        let differences = check.rows.filter { $0[3] != "0" }.count
        page.paragraph(
            differences == 0
                ? "The sums of the events are what the counters grew by between the first and the last sample."
                : "In \(differences) of \(check.rows.count) rows the sums differ: what happened before the first sample or after the last one is in "
                    + "one of them alone"
                    + (analysis.lost > 0 ? ", and \(analysis.lost) events were lost." : "."))
        page.add(check)
    }

    private mutating func addMethod() {
        page.section("About the figures", id: "method")
        let bins = analysis.bins
        page.paragraph(
            "Time is divided into \(bins.count) steps of \(Figure.duration(bins.binDuration)), and the offsets of a buffer into at most "
                + "\(BufferRaster.rowLimit) parts. Sums are of all events. Pictures and tables of buffers have the largest ones; "
                + "`cdmfs report --format csv` has every event.")
        page.paragraph("A page is \(Page.size) bytes. Sizes are in powers of 1024.")
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
