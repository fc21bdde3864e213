import Charts
import CoherentMemory

extension TraceAnalysis {
    /// Every table that has rows, in the order of the reports.
    var tables: [DataTable] { allTables.filter { !$0.rows.isEmpty } }

    private var allTables: [DataTable] {
        [
            events, placement, touches, moves, pingPongTable, promotionTable, refusalTable, recoveryTable, commandTable,
            bufferTable, timeline, check,
        ]
    }

    /// The names of all tables that there can be.
    public static var tableNames: [String] { TraceAnalysis().allTables.map(\.name) }

    /// A table as comma-separated values (RFC 4180), its titles alone if it has no rows; empty for a name that no table has.
    public func commaSeparated(table name: String) -> String {
        allTables.first { $0.name == name }?.commaSeparated ?? ""
    }

    /// The most rows of tables about buffers and pages.
    private static let rowLimit = 20
    /// The rows of tables over time.
    static let stepCount = 24

    var events: DataTable {
        DataTable(
            "events", "Events by kind", ["event", .figures("count")],
            TraceEvent.Kind.allCases.compactMap { kind in kinds[kind].map { [kind.name, "\($0)"] } })
    }

    /// The nodes of the counters and of the events, in order.
    var allNodes: [Int] {
        Set(samples.columns.flatMap { $0.allocated.keys }).union(nodes.nodes.map(Int.init)).sorted()
    }

    /// The columns at about equal steps, the last one among them.
    static func steps<Element>(of columns: [Element]) -> [Element] {
        guard columns.count > stepCount else { return columns }
        return (1...stepCount).map { columns[$0 * columns.count / stepCount - 1] }
    }

    var placement: DataTable {
        let nodes = allNodes
        return DataTable(
            "placement", "Used memory of each node over time, in MiB, as sampled",
            [.figures("seconds")] + nodes.map { .figures("node\($0)") },
            Self.steps(of: samples.columns).map { column in
                [Figure.fixed(bins.seconds(of: column.time), digits: 3)]
                    + nodes.map { Figure.fixed(column.allocated[$0, default: 0] / 1_048_576, digits: 2) }
            })
    }

    var touches: DataTable {
        DataTable(
            "touches", "Touches that got frames",
            [.figures("node"), .figures("pages"), .figures("meant elsewhere"), .figures("by device")],
            placed.sorted { $0.key < $1.key }.map {
                ["\($0.key)", "\($0.value.pages)", "\($0.value.elsewhere)", "\($0.value.byDevice)"]
            })
    }

    var moves: DataTable {
        DataTable(
            "moves", "Pages that moved, by reason",
            [
                .figures("from"), .figures("to"), "reason", .figures("pages"), .figures("modelled ns"),
                .figures("real ns"),
            ],
            moved.sorted { $0.key < $1.key }.map {
                [
                    "\($0.key.from)", "\($0.key.to)", $0.key.reason, "\($0.value.pages)", "\($0.value.modelled)",
                    "\($0.value.real)",
                ]
            })
    }

    var pingPongTable: DataTable {
        var table = DataTable(
            "ping-pong", "Pages that came back to the node that they had come from",
            [
                "buffer", .figures("offset"), .figures("pages"), "nodes", .figures("returns of each"),
                .figures("pages moved back"),
            ],
            pingPongs.map { buffer, run in
                [
                    name(of: buffer), "0x" + String(run.pages.lowerBound << Page.shift, radix: 16),
                    "\(run.pages.count)",
                    run.between.map { "\($0)" }.joined(separator: "–"), "\(run.returns)", "\(run.moves)",
                ]
            })
        table.limit(to: Self.rowLimit)
        return table
    }

    /// The buffers of which pages were promoted, those with the most first.
    var promotedBuffers: [(id: UInt64, figures: PageHistory.Promotions)] {
        buffers.map { ($0.key, $0.value.pages.promotions) }.filter { $0.1.promoted > 0 }
            .sorted { ($0.1.promoted, $1.0) > ($1.1.promoted, $0.0) }
    }

    var promotionTable: DataTable {
        func row(_ name: String, _ figures: PageHistory.Promotions) -> [String] {
            [
                name, "\(figures.promoted)", "\(figures.touched)", "\(figures.demoted)", "\(figures.gone)",
                "\(figures.unseen)",
                Figure.percent(Double(figures.touched), of: Double(figures.touched + figures.demoted)),
            ]
        }
        let list = promotedBuffers
        var table = DataTable(
            "promotions", "Promoted pages, and what came of them",
            [
                "buffer", .figures("promoted"), .figures("touched again"), .figures("demoted before"),
                .figures("gone before"),
                .figures("not seen again"), .figures("precision"),
            ], list.isEmpty ? [] : [row("all buffers", promotions)] + list.map { row(name(of: $0.id), $0.figures) })
        table.limit(to: Self.rowLimit)
        return table
    }

    var refusalTable: DataTable {
        DataTable(
            "refusals", "Refusals by cause", ["why", .figures("count")],
            refused.sorted { $0.key < $1.key }.map { [$0.key.text, "\($0.value)"] })
    }

    var recoveryTable: DataTable {
        var table = DataTable(
            "recovery", "Memory that went, and came back; times in seconds",
            [
                .figures("node"), "cause", .figures("began"), .figures("blocks"), .figures("pages moved"),
                .figures("pages lost"), .figures("all away"), .figures("link up"), .figures("online"),
                .figures("pages back"),
                .figures("recovered"),
            ],
            recovery.episodes.map { episode in
                func time(_ time: UInt64?) -> String { time.map { Self.seconds(bins.offset(of: $0)) } ?? "–" }
                return [
                    "\(episode.node)", episode.cause.rawValue + (episode.hasFailed ? ", failed" : ""),
                    time(episode.began),
                    "\(episode.blocks.count)", "\(episode.moved)", "\(episode.lost)", time(episode.away),
                    time(episode.linkUp), time(episode.online), "\(episode.back)", time(episode.recovered),
                ]
            })
        table.limit(to: 100)
        return table
    }

    var commandTable: DataTable {
        DataTable(
            "commands", "Commands of devices", ["command", .figures("count"), .figures("failed"), .figures("ns")],
            commands.sorted { $0.key < $1.key }.map {
                [$0.key, "\($0.value.count)", "\($0.value.failed)", "\($0.value.nanoseconds)"]
            })
    }

    var bufferTable: DataTable {
        var table = DataTable(
            "buffers", "Buffers with the most events; figures in pages, refusals in events",
            [
                "buffer", .figures("events"), .figures("placed"), .figures("moved"), .figures("refused"),
                .figures("lost"),
                .figures("freed"), .figures("most at once"),
            ],
            buffers.sorted { ($0.value.events, $1.key) > ($1.value.events, $0.key) }.map {
                [
                    name(of: $0.key), "\($0.value.events)", "\($0.value.placed)", "\($0.value.moved)",
                    "\($0.value.refused)", "\($0.value.lost)", "\($0.value.freed)", "\($0.value.mostResident)",
                ]
            })
        table.limit(to: Self.rowLimit)
        return table
    }

    var timeline: DataTable {
        var table = DataTable(
            "timeline", "Failures and changes of rules; of events that follow each other within 0.1 s the first one",
            [.figures("seconds"), "event", .figures("times"), "what"],
            moments.map { [Self.seconds(bins.offset(of: $0.time)), $0.kind.name, "\($0.count)", $0.fields] })
        if omittedMoments > 0 { table.rest = "and \(omittedMoments) more" }
        return table
    }

    /// The sums of the events beside what the counters grew by.
    var check: DataTable {
        var table = DataTable(
            "check", "Sums of the events beside the growth of the counters (sys/kernel/cdm/metrics)",
            ["counter", .figures("events"), .figures("counter grew by"), .figures("difference")])
        guard samples.count > 1 else { return table }
        var sums: [String: UInt64] = [:]
        for (move, figures) in moved {
            let name = "cdmfs_migrated_pages_total{from=\"\(move.from)\",to=\"\(move.to)\",reason=\"\(move.reason)\"}"
            sums[name, default: 0] &+= figures.pages
        }
        for (refusal, count) in refused {
            guard let node = refusal.node else { continue }
            sums["cdmfs_node_refusals_total{node=\"\(node)\",cause=\"\(refusal.why)\"}", default: 0] &+= count
        }
        let counted = samples.names(of: "cdmfs_migrated_pages_total").union(
            samples.names(of: "cdmfs_node_refusals_total"))
        for name in counted.union(sums.keys).sorted() {
            let growth = samples.growth(of: name) ?? 0
            let sum = sums[name, default: 0]
            guard growth != 0 || sum != 0 else { continue }
            table.append([
                name, "\(sum)", Figure.fixed(growth, digits: 0), Figure.fixed(Double(sum) - growth, digits: 0),
            ])
        }
        return table
    }

    /// Seconds with microseconds.
    static func seconds(_ nanoseconds: UInt64) -> String {
        let rest = String(nanoseconds / 1000 % 1_000_000)
        return "\(nanoseconds / 1_000_000_000)." + String(repeating: "0", count: 6 - rest.count) + rest
    }
}
