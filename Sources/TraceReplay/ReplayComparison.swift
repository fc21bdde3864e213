import CLinux
import CoherentMemory
import LinuxSupport
public import MachineTopology
import TraceFormat

/// What was recorded and what replays came to, side by side: a plain value for tables and pictures.
public struct ReplayComparison: Sendable, Hashable {
    /// A column: the record, or a replay.
    public struct Column: Sendable, Hashable {
        /// The name: `recorded`, `replayed`, or the options of a variant.
        public var name: String
        /// What the replay could not know or do, a sentence each.
        public var notes: [String]
    }

    /// The unit of a section's values.
    public enum Unit: String, Sendable, Hashable {
        /// Pages of 4 KiB.
        case pages
        /// A number of something.
        case count
        /// Nanoseconds.
        case nanoseconds
    }

    /// A figure, in every column.
    public struct Row: Sendable, Hashable {
        /// What it is, within its section.
        public var name: String
        /// One value a column; nil where it is not known.
        public var values: [UInt64?]
    }

    /// Figures of one kind.
    public struct Section: Sendable, Hashable {
        /// The title.
        public var title: String
        /// The unit of the values.
        public var unit: Unit
        /// The rows, in the order of a table.
        public var rows: [Row]
    }

    /// The columns: the first is what was recorded, the second the replay with the record's own options.
    public var columns: [Column]
    /// The figures.
    public var sections: [Section]

    /// The largest buffers that have rows of their own.
    public static let bufferLimit = 10
}

extension ReplayComparison {
    /// Replays a trace with its own options and with others.
    ///
    /// - Parameters:
    ///   - trace: the trace.
    ///   - topology: the machine.
    ///   - variants: the other options, a column each.
    /// - Throws: ``ReplayError``.
    public init(
        of trace: RecordedTrace, on topology: Topology, variants: [ReplayOptions]
    ) throws(ReplayError) {
        var recorded = TraceFigures()
        for event in trace.events { recorded.add(event) }
        var columns = [Column(name: "recorded", notes: [])]
        var figures = [recorded]
        var links: [[String: UInt64]] = [trace.linkTime]
        // All are made before any is run, so that what is wrong with one is told at once.
        var replays: [Replay] = []
        for options in [ReplayOptions()] + variants {
            replays.append(try Replay(trace, on: topology, options: options))
        }
        let names = ["replayed"] + variants.map(\.name)
        for (replay, name) in zip(replays, names) {
            replay.run()
            columns.append(Column(name: name, notes: replay.notes))
            figures.append(replay.figures)
            links.append(replay.linkTime)
        }
        self.init(columns: columns, sections: Self.sections(figures, links, trace))
    }

    private static func sections(
        _ figures: [TraceFigures], _ links: [[String: UInt64]], _ trace: RecordedTrace
    ) -> [Section] {
        var sections: [Section] = []
        func add(_ title: String, _ unit: Unit, _ rows: [Row]) {
            if !rows.isEmpty { sections.append(Section(title: title, unit: unit, rows: rows)) }
        }
        /// Rows of sums by something, in its order.
        func rows<Key: Hashable & Comparable>(
            _ sums: [[Key: UInt64]], _ name: (Key) -> String
        ) -> [Row] {
            Set(sums.flatMap(\.keys)).sorted().map { key in
                Row(name: name(key), values: sums.map { $0[key] ?? 0 })
            }
        }
        func node(_ id: Int) -> String { "node\(id)" }
        func way(_ way: TraceFigures.Way) -> String { "\(way.from) to \(way.to)" }
        add("pages at the end", .pages, rows(figures.map(\.pages), node))
        let totals = figures.map { figures in
            figures.buffers.reduce(into: [:] as [UInt64: UInt64]) { $0[$1] = figures.pages(of: $1).values.reduce(0, +) }
        }
        let largest = Set(totals.flatMap(\.keys)).map { id in (id: id, pages: totals.map { $0[id] ?? 0 }.max() ?? 0) }
            .sorted { ($1.pages, $0.id) < ($0.pages, $1.id) }.prefix(bufferLimit)
        for (id, _) in largest {
            let title = "pages of \(trace.names[id]?.printable ?? "#\(id)")"
            add(title, .pages, rows(figures.map { $0.pages(of: id) }, node))
        }
        add("pages placed by touches", .pages, rows(figures.map(\.placed), node))
        add("touches refused", .count, rows(figures.map(\.refused), errorName))
        for refusal in IsolationRefusal.allCases {
            add("isolation: \(refusal.name)", .count, rows(figures.map { $0.isolated[refusal] ?? [:] }, node))
        }
        for reason in MoveReason.allCases {
            add("pages moved: \(reason.rawValue)", .pages, rows(figures.map { $0.moved[reason] ?? [:] }, way))
        }
        let failures: [(String, KeyPath<TraceFigures, UInt64>)] = [
            ("poisoned", \.poisoned), ("retired", \.retired), ("lost with a link", \.lost),
            ("of zeros, freed by reclaim", \.reclaimed),
        ]
        add(
            "pages that went", .pages,
            failures.map { name, path in Row(name: name, values: figures.map { $0[keyPath: path] }) }
                .filter { $0.values.contains { $0 != 0 } })
        add("modelled time of copies", .nanoseconds, rows(figures.map(\.copyTime), way))
        var linkRows = rows(links, { $0 })
        // The record has it from the samples of the counters, if there are two.
        if trace.linkTime.isEmpty { for index in linkRows.indices { linkRows[index].values[0] = nil } }
        add(
            "modelled time of links, faults and copies", .nanoseconds,
            linkRows.filter { $0.values.contains { ($0 ?? 0) != 0 } })
        return sections
    }

    /// The name of an error.
    private static func errorName(_ number: UInt64) -> String {
        guard let name = unsafe clinux_errno_name(Int32(truncatingIfNeeded: number)) else { return "\(number)" }
        return unsafe String(cString: name)
    }

    // MARK: Forms

    /// The comparison as a table, with the notes of each column below.
    public var text: String {
        var lines: [[String]] = [[""] + columns.map(\.name)]
        for section in sections {
            lines.append([section.title + (section.unit == .nanoseconds ? " (ns)" : "")])
            for row in section.rows { lines.append(["  " + row.name] + row.values.map { $0.map(String.init) ?? "-" }) }
        }
        let widths = (0..<columns.count + 1).map { column in
            lines.filter { $0.count > 1 }.map { $0[column].count }.max() ?? 0
        }
        func padding(_ text: String, _ width: Int) -> String {
            String(repeating: " ", count: max(0, width - text.count))
        }
        var text = ""
        for line in lines {
            guard line.count > 1 else {
                text += "\(line[0])\n"
                continue
            }
            let cells = zip(line, widths).enumerated().map { index, cell in
                index == 0 ? cell.0 + padding(cell.0, cell.1) : padding(cell.0, cell.1) + cell.0
            }
            text += cells.joined(separator: "  ") + "\n"
        }
        for column in columns { for note in column.notes { text += "\(column.name): \(note)\n" } }
        return text
    }

    /// The comparison as JSON.
    public var json: String {
        func list(_ items: [String]) -> String { "[" + items.joined(separator: ",") + "]" }
        let columns = columns.map { column in
            "{\"name\":\(JSONText.quoted(column.name)),\"notes\":\(list(column.notes.map(JSONText.quoted)))}"
        }
        let sections = sections.map { section in
            let rows = section.rows.map { row in
                "{\"name\":\(JSONText.quoted(row.name)),\"values\":"
                    + list(row.values.map { $0.map { "\($0)" } ?? "null" }) + "}"
            }
            return
                "{\"title\":\(JSONText.quoted(section.title)),\"unit\":\"\(section.unit.rawValue)\",\"rows\":\(list(rows))}"
        }
        return "{\"columns\":\(list(columns)),\n\"sections\":[\n\(sections.joined(separator: ",\n"))\n]}\n"
    }
}
