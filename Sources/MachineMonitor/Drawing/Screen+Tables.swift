extension Screen {
    var nodes: Table<Snapshot.Node> { Self.nodes(snapshot, state, cells) }
    var faults: Table<Snapshot.Node> { Self.faults(snapshot, state, cells) }
    var flows: Table<Snapshot.Flow> { Self.flows(snapshot, state, cells) }
    var links: Table<Snapshot.Link> { Self.links(snapshot, state, cells) }
    var buffers: Table<Snapshot.Buffer> { Self.buffers(snapshot, state, cells) }
    var tasks: Table<Snapshot.Task> { Self.tasks(snapshot, state, cells) }

    /// The buffers in the order of the table.
    static func buffers(of snapshot: Snapshot, _ state: ViewState) -> [Snapshot.Buffer] {
        buffers(snapshot, state, CellText(isUnicode: false)).rows
    }

    /// The columns by which a panel can be sorted.
    static func columnCount(of panel: Panel) -> Int {
        let (nothing, state, cells) = (Snapshot(), ViewState(), CellText(isUnicode: false))
        return switch panel {
        case .nodes: nodes(nothing, state, cells).columns.count { $0.picture == nil }
        case .faults: faults(nothing, state, cells).columns.count
        case .flows: flows(nothing, state, cells).columns.count { $0.picture == nil }
        case .links: links(nothing, state, cells).columns.count
        case .buffers: buffers(nothing, state, cells).columns.count
        case .tasks: tasks(nothing, state, cells).columns.count
        case .map, .events: 0
        }
    }

    /// The rows of a panel.
    static func rowCount(of panel: Panel, _ snapshot: Snapshot) -> Int {
        switch panel {
        case .nodes, .faults: snapshot.nodes.count
        case .flows: snapshot.flows.count
        case .links: snapshot.links.count
        case .buffers, .map: snapshot.buffers.count
        case .tasks: snapshot.tasks?.count ?? 0
        case .events: snapshot.events.count
        }
    }

    private static func nodes(_ snapshot: Snapshot, _ state: ViewState, _ cells: CellText) -> Table<Snapshot.Node> {
        typealias Node = Snapshot.Node
        let marks: [Node.Mark] = [.none, .high, .low, .min]
        var bar = Column<Node>("WATERMARKS", width: 10, rank: 3) { _ in "" }
        bar.picture = { Bars(cells: cells).memory($0, $1) }
        // Where there is no room, the bar has them.
        let watermarks = [("MIN", \Node.min), ("LOW", \Node.low), ("HIGH", \Node.high)].map { title, figure in
            var column = Column<Node>(title, width: 5, rank: 9, { $0[keyPath: figure] }, Amount.bytes)
            column.leastWidth = 94
            return column
        }
        return Table(
            [
                name("NODE", \.id),
                Column("KIND", width: 8, rank: 6, text: \.kind),
                Column(
                    "TIER", width: 4, rank: 7, cell: { Cell($0.tier.map { "\($0)" } ?? "-") },
                    precedes: { ($0.tier ?? .max) < ($1.tier ?? .max) }),
                Column("SIZE", width: 5, rank: 5, \.present, Amount.bytes),
                Column("USED", width: 5, rank: 8, \.used, Amount.bytes),
                Column("USED%", width: 5, rank: 1, { $0.present > 0 ? $0.used / $0.present : 0 }, Amount.percent),
                Column("FREE", width: 5, rank: 4, \.free, Amount.bytes),
                Column(
                    "MARK", width: 4, rank: 2, isLeading: true,
                    cell: { node in
                        let style: Style =
                            switch node.mark {
                            case .none: .plain
                            case .high, .low: .caution
                            case .min: .alarm
                            }
                        return Cell(node.present == 0 ? "-" : node.mark.rawValue, style)
                    },
                    precedes: { marks.firstIndex(of: $0.mark)! > marks.firstIndex(of: $1.mark)! }),
            ] + watermarks + [bar], snapshot.nodes, sortedBy: state.sorts[.nodes], cells)
    }

    /// A first column of node numbers.
    private static func name(
        _ title: String, _ id: @escaping (Snapshot.Node) -> Int
    ) -> Column<Snapshot.Node> {
        Column(
            title, width: 12, rank: 0, isLeading: true, cell: { Cell("node\(id($0))") }, precedes: { id($0) < id($1) })
    }

    private static func faults(_ snapshot: Snapshot, _ state: ViewState, _ cells: CellText) -> Table<Snapshot.Node> {
        Table(
            [
                name("NODE", \.id),
                Column("HIT", width: 5, rank: 1, \.hits, Amount.count),
                Column("MISS", width: 5, rank: 2, \.misses, Amount.count),
                Column("FOREIGN", width: 5, rank: 7, \.foreign, Amount.count),
                Column("LOCAL", width: 5, rank: 8, \.local, Amount.count),
                Column("OTHER", width: 5, rank: 9, \.other, Amount.count),
                Column("HINT", width: 5, rank: 4, \.hints, Amount.count),
                Column("DEVICE", width: 5, rank: 6, \.deviceFaults, Amount.count),
                Column("REFUSED", width: 5, rank: 3, \.refused, Amount.count),
                Column("DEMOTE", width: 5, rank: 5, \.demoted, Amount.count),
                Column("PROMOTE", width: 5, rank: 5, \.promoted, Amount.count),
            ], snapshot.nodes, sortedBy: state.sorts[.faults], cells)
    }

    private static func flows(_ snapshot: Snapshot, _ state: ViewState, _ cells: CellText) -> Table<Snapshot.Flow> {
        let most = snapshot.flows.reduce(0) { max($0, $1.rate) }
        var bar = Column<Snapshot.Flow>("", width: 6, rank: 4) { _ in "" }
        bar.picture = { flow, width in
            Bars(cells: cells).share(most > 0 ? flow.rate / most : 0, min(width, 24), .good)
        }
        return Table(
            [
                Column(
                    "FLOW", width: 12, rank: 0, isLeading: true,
                    cell: { Cell("\($0.flow.from) \(cells.isUnicode ? "→" : "->") \($0.flow.to)") },
                    precedes: { ($0.flow.from, $0.flow.to) < ($1.flow.from, $1.flow.to) }),
                Column("REASON", width: 10, rank: 1, text: \.flow.reason),
                Column("MB/s", width: 6, rank: 2, \.rate, Amount.megabytes),
                Column("TOTAL", width: 5, rank: 3, \.total, Amount.bytes),
                bar,
            ], snapshot.flows, sortedBy: state.sorts[.flows], cells)
    }

    private static func links(_ snapshot: Snapshot, _ state: ViewState, _ cells: CellText) -> Table<Snapshot.Link> {
        typealias Link = Snapshot.Link
        func used(_ link: Link) -> Double {
            let bandwidth = max(link.readBandwidth, link.writeBandwidth)
            return bandwidth > 0 ? link.copied / bandwidth : 0
        }
        return Table(
            [
                Column("DEVICE", width: 12, rank: 0, text: \.device),
                Column(
                    "NODE", width: 4, rank: 6, cell: { Cell($0.node.map { "\($0)" } ?? "-") },
                    precedes: { ($0.node ?? .max) < ($1.node ?? .max) }),
                Column(
                    "LINK", width: 4, rank: 1, isLeading: true,
                    cell: { Cell($0.isUp ? "up" : "down", $0.isUp ? .plain : .alarm) },
                    precedes: { !$0.isUp && $1.isUp }),
                Column("COPY MB/s", width: 6, rank: 2, \.copied, Amount.megabytes),
                Column("USED", width: 5, rank: 5, used, Amount.percent),
                Column("MODEL", width: 5, rank: 3, \.modelled, Amount.percent),
                Column("STALL", width: 5, rank: 4, \.stalled, Amount.percent),
                Column("MAX MB/s", width: 6, rank: 7, { max($0.readBandwidth, $0.writeBandwidth) }, Amount.megabytes),
                Column("QUEUE", width: 5, rank: 8, \.queued, Amount.count),
                Column("ERRORS", width: 5, rank: 8, \.errors, Amount.count),
            ], snapshot.links, sortedBy: state.sorts[.links], cells)
    }

    private static func buffers(_ snapshot: Snapshot, _ state: ViewState, _ cells: CellText) -> Table<Snapshot.Buffer> {
        Table(
            [
                Column("BUFFER", width: 14, rank: 0, text: \.figures.name),
                Column("SIZE", width: 5, rank: 4, { Double($0.figures.size) }, Amount.bytes),
                Column("PAGES", width: 5, rank: 1, { Double($0.figures.resident) }, Amount.bytes),
                Column("TOUCH", width: 5, rank: 2, \.touched, Amount.count),
                Column("READ", width: 5, rank: 5, \.reads, Amount.count),
                Column("WRITE", width: 5, rank: 6, \.writes, Amount.count),
                Column("REFUSE", width: 5, rank: 8, \.refused, Amount.count),
                Column("MOVE", width: 5, rank: 3, \.moved, Amount.count),
                Column(
                    "NODES", width: 12, rank: 7, isLeading: true, cell: { Cell(placement($0)) },
                    precedes: { $0.figures.placement < $1.figures.placement }),
            ], snapshot.buffers, sortedBy: state.sorts[.buffers], cells)
    }

    /// `0:75% 1:25%`, the largest part first.
    private static func placement(_ buffer: Snapshot.Buffer) -> String {
        let parts = buffer.figures.placement.split(separator: ",").compactMap { part -> (node: Int, pages: Double)? in
            let words = part.dropFirst().split(separator: "=")
            guard part.hasPrefix("N"), words.count == 2, let node = Int(words[0]), let pages = Double(words[1]) else {
                return nil
            }
            return (node, pages)
        }
        let sum = parts.reduce(0) { $0 + $1.pages }
        let shares = parts.sorted { ($0.pages, $1.node) > ($1.pages, $0.node) }.map {
            "\($0.node):\(Amount.percent($0.pages / sum))"
        }
        let text = shares.isEmpty ? "-" : shares.joined(separator: " ")
        return buffer.figures.isPinned ? "pinned " + text : text
    }

    private static func tasks(_ snapshot: Snapshot, _ state: ViewState, _ cells: CellText) -> Table<Snapshot.Task> {
        Table(
            [
                Column("TASK", width: 12, rank: 0) {
                    $0.id == 0 ? "(no task)" : $0.name.isEmpty ? "(ended)" : $0.name
                },
                Column("TID", width: 7, rank: 1, cell: { Cell("\($0.id)") }, precedes: { $0.id < $1.id }),
                Column("TOUCH", width: 5, rank: 2, \.touched, Amount.count),
                Column("REFUSE", width: 5, rank: 4, \.refused, Amount.count),
                Column("MOVE", width: 5, rank: 3, \.moved, Amount.count),
                Column("TOUCHED", width: 7, rank: 5, \.total, Amount.count),
            ], snapshot.tasks ?? [], sortedBy: state.sorts[.tasks], cells)
    }
}
