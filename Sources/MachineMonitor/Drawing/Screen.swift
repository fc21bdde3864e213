/// Draws a ``Snapshot``: the same values give the same lines.
package struct Screen {
    let snapshot: Snapshot
    let state: ViewState
    let cells: CellText
    /// What is wrong with the view itself, such as a machine that does not answer.
    let notice: String?

    /// A drawing of a snapshot.
    package init(_ snapshot: Snapshot, _ state: ViewState, _ cells: CellText, notice: String? = nil) {
        (self.snapshot, self.state, self.cells, self.notice) = (snapshot, state, cells, notice)
    }

    /// The least width at which panels stand side by side.
    private static let widthOfTwoColumns = 140

    // MARK: The whole

    /// Exactly `height` lines of at most `width` cells.
    package func frame(width: Int, height: Int) -> [Line] {
        guard width > 0, height > 0 else { return [] }
        guard height > 2 else {
            return [header(width), footer(width)].prefix(height).map { $0.fitted(to: width, cells) }
        }
        let body =
            if state.showsHelp {
                Self.help.dropFirst(state.helpPosition).map { Line($0) }
            } else if state.isZoomed {
                draw(state.focus, width, height - 2)
            } else if width >= Self.widthOfTwoColumns {
                columns(width, height - 2)
            } else {
                stack(Panel.allCases, width, height - 2)
            }
        let blank = [Line](repeating: Line(), count: max(0, height - 2 - body.count))
        return ([header(width)] + body.prefix(height - 2) + blank + [footer(width)]).map { $0.fitted(to: width, cells) }
    }

    /// Everything as plain text, in the order of reading.
    package var page: String {
        var lines = [header(.max).trimmed]
        for panel in Panel.allCases {
            let title = panel == .flows ? "FLOWS MB/s" : panel.title
            lines += ["", title + (panel == .map ? mapTitle.map { " " + $0 } ?? "" : "")]
            lines += page(panel)
        }
        return lines.map { $0 + "\n" }.joined()
    }

    private func columns(_ width: Int, _ height: Int) -> [Line] {
        let left = (width - 3) / 2
        let sides = [
            stack([.nodes, .faults, .flows, .links, .tasks], left, height),
            stack([.buffers, .map, .events], width - 3 - left, height),
        ]
        let bar = cells.isUnicode ? " │ " : " | "
        return (0..<height).map { row in
            var line = (row < sides[0].count ? sides[0][row] : Line()).fitted(to: left, cells)
            line.add(bar, .faint)
            if row < sides[1].count { line.add(sides[1][row]) }
            return line
        }
    }

    /// Panels below each other, as many as there is room for.
    private func stack(_ panels: [Panel], _ width: Int, _ height: Int) -> [Line] {
        let heights = heights(panels, height)
        return panels.flatMap { panel -> [Line] in
            guard let height = heights[panel] else { return [] }
            let lines = draw(panel, width, height)
            return lines.prefix(height) + [Line](repeating: Line(), count: max(0, height - lines.count))
        }
    }

    /// How the lines of a column are shared.
    private func heights(_ panels: [Panel], _ height: Int) -> [Panel: Int] {
        let order = [state.focus] + Panel.byImportance.filter { $0 != state.focus }
        var heights: [Panel: Int] = [:]
        var left = height
        for panel in order where panels.contains(panel) {
            let least = leastHeight(of: panel)
            // The first one is there in any case.
            guard least <= left || heights.isEmpty else { continue }
            heights[panel] = min(least, left)
            left -= heights[panel]!
        }
        let shown = order.filter { heights[$0] != nil }
        for wants in [usualHeight(of:), fullHeight(of:)] {
            var isChanging = true
            while left > 0, isChanging {
                isChanging = false
                for panel in shown where left > 0 && heights[panel]! < wants(panel) {
                    heights[panel]! += 1
                    left -= 1
                    isChanging = true
                }
            }
        }
        return heights
    }

    private func leastHeight(of panel: Panel) -> Int {
        switch panel {
        case .nodes, .faults: 1 + min(2, max(1, snapshot.nodes.count))
        case .map, .buffers: 3
        case .flows, .links, .tasks, .events: 2
        }
    }

    /// What does not change with every event, so that the panels keep their places.
    private func usualHeight(of panel: Panel) -> Int {
        switch panel {
        case .nodes, .faults: 1 + min(16, max(1, snapshot.nodes.count))
        case .flows: min(8, 1 + max(2, snapshot.flows.count))
        case .links: 1 + min(8, max(1, snapshot.links.count))
        case .buffers: 9
        case .tasks: 6
        case .map: 7
        case .events: 7
        }
    }

    private func fullHeight(of panel: Panel) -> Int {
        switch panel {
        case .nodes, .faults: 1 + max(1, snapshot.nodes.count)
        case .flows: 1 + max(1, snapshot.flows.count) + matrixNodes.count + 2
        case .links: 1 + max(1, snapshot.links.count)
        case .buffers: 1 + max(1, snapshot.buffers.count)
        case .tasks: 16
        case .map: 18
        case .events: 1 + max(1, snapshot.events.count)
        }
    }

    // MARK: Header and footer

    private func header(_ width: Int) -> Line {
        let total = snapshot.nodes.reduce(0) { $0 + $1.present }
        let used = snapshot.nodes.reduce(0) { $0 + $1.used }
        var words: [(text: String, style: Style)] = []
        if let notice { words.append((cells.shown(notice), .alarm)) }
        if state.isPaused { words.append(("PAUSED", .caution)) }
        words += [
            (cells.shown(snapshot.mountPoint), .strong), (Amount.time(snapshot.time), .plain),
            (
                Amount.percent(total > 0 ? used / total : 0) + " of " + Amount.bytes(total) + " used on "
                    + Self.counted(snapshot.nodes.count, "node"), .plain
            ),
            (Self.counted(snapshot.bufferCount, "buffer"), .plain),
            (
                snapshot.seconds.map { "rates over " + Amount.decimal($0, 10) + " s" } ?? "no rates yet", .plain
            ),
        ]
        if snapshot.lostEvents > 0 { words.append(("events not seen: " + Amount.count(snapshot.lostEvents), .caution)) }
        var line = Line("cdmfs top", .strong)
        var left = width - 9
        for (text, style) in words {
            // The name of the mount point is cut off, if need be; others are left out.
            let room = left - 2
            guard room > 3 else { break }
            let isPath = style == .strong
            guard isPath || cells.width(text) <= room else { continue }
            let shown = cells.width(text) <= room ? text : cells.fitted(text, to: room)
            line.add("  ")
            line.add(shown, style)
            left -= 2 + cells.width(shown)
        }
        return line
    }

    private static func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

    private func footer(_ width: Int) -> Line {
        let keys: [(key: String, what: String)] =
            state.showsHelp
            ? [("Esc", "back"), ("q", "quit"), ("Up/Down", "scroll")]
            : [
                ("q", "quit"), ("?", "help"), ("p", state.isPaused ? "go on" : "pause"), ("1-8", "panel"),
                ("z", state.isZoomed ? "all panels" : "zoom"), ("s", "sort"), ("r", "reverse"), ("Up/Down", "select"),
                ("+/-", "map"),
            ]
        var line = Line()
        var left = width
        for (key, what) in keys {
            let wanted = key.count + 1 + what.count + (line.pieces.isEmpty ? 0 : 2)
            guard wanted <= left else { break }
            if !line.pieces.isEmpty { line.add("  ") }
            line.add(key, .strong)
            line.add(" " + what)
            left -= wanted
        }
        return line
    }

    /// The heading of a panel. Who sees no styles sees the brackets.
    private func title(_ panel: Panel) -> String {
        (state.focus == panel ? "[\(panel.rawValue)] " : " \(panel.rawValue)  ") + panel.title
    }

    private func heading(_ panel: Panel, _ text: String, _ width: Int) -> Line {
        Line(cells.fitted(text, to: width), state.focus == panel ? .focused : .heading)
    }

    // MARK: Panels

    private func draw(_ panel: Panel, _ width: Int, _ height: Int) -> [Line] {
        switch panel {
        case .nodes: return draw(nodes, panel, width, height, or: "no node")
        case .faults: return draw(faults, panel, width, height, or: "no node")
        case .flows:
            let list = draw(flows, panel, width, height, or: "no page has moved")
            let matrix = matrix(width)
            // Only where the list does not lose a row.
            return matrix.isEmpty || list.count + matrix.count > height ? list : list + matrix
        case .links: return draw(links, panel, width, height, or: "no device")
        case .buffers: return drawBuffers(width, height)
        case .tasks:
            guard snapshot.tasks != nil else {
                return [heading(panel, title(panel), width), Line("only root may see who touches pages", .faint)]
            }
            return draw(tasks, panel, width, height, or: "no task has touched a page")
        case .map: return drawMap(width, height)
        case .events: return drawEvents(width, height)
        }
    }

    private func page(_ panel: Panel) -> [String] {
        func lines<Row>(_ table: Table<Row>, or text: String) -> [String] { table.rows.isEmpty ? [text] : table.page }
        switch panel {
        case .nodes: return lines(nodes, or: "no node")
        case .faults: return lines(faults, or: "no node")
        case .flows: return lines(flows, or: "no page has moved")
        case .links: return lines(links, or: "no device")
        case .buffers: return lines(buffers, or: "no buffer")
        case .tasks:
            return snapshot.tasks == nil
                ? ["only root may see who touches pages"] : lines(tasks, or: "no task has touched a page")
        case .map: return mapPage
        case .events: return snapshot.events.isEmpty ? ["no event"] : snapshot.events.map { eventText($0) }
        }
    }

    private func draw<Row>(
        _ table: Table<Row>, _ panel: Panel, _ width: Int, _ height: Int, or text: String
    ) -> [Line] {
        let layout = table.layout(width)
        let title = heading(panel, table.header(layout, title: title(panel)), width)
        guard !table.rows.isEmpty else { return [title, Line(text, .faint)] }
        return [title]
            + window(table.rows.count, height - 1, first: state.positions[panel] ?? 0) {
                table.line(table.rows[$0], layout)
            }
    }

    /// The rows from one on that there is room for, and how many there are more.
    private func window(_ count: Int, _ room: Int, first: Int, _ line: (Int) -> Line) -> [Line] {
        guard room > 0 else { return [] }
        let first = max(0, min(first, count - room))
        let hasMore = first + room < count && room > 4
        let last = min(count, first + room - (hasMore ? 1 : 0))
        return (first..<last).map(line) + (hasMore ? [Line("  and \(count - last) more", .faint)] : [])
    }

    private func drawBuffers(_ width: Int, _ height: Int) -> [Line] {
        let table = buffers
        // Two cells are for the mark of the selected one.
        let layout = table.layout(width - 2)
        var headings = layout
        if !headings.isEmpty { headings[0].width += 2 }
        let slow = snapshot.secondsOfBuffers.map { $0 > 1.5 * max(1, snapshot.seconds ?? 1) } ?? false
        var text = title(.buffers)
        if slow { text += " (\(Amount.decimal(snapshot.secondsOfBuffers ?? 0, 1))s)" }
        let header = heading(.buffers, table.header(headings, title: text), width)
        guard !table.rows.isEmpty else {
            return [header, Line(snapshot.bufferCount > 0 ? "no buffer that you may see" : "no buffer", .faint)]
        }
        let selected = state.buffer(of: snapshot)?.id
        let place = table.rows.firstIndex { $0.id == selected } ?? 0
        let rows = window(table.rows.count, height - 1, first: place - (height - 2) / 2) { index in
            let row = table.rows[index]
            var line = Line(row.id == selected ? "> " : "  ")
            line.add(table.line(row, layout))
            guard row.id == selected, state.focus == .buffers else { return line }
            return Line(line.fitted(to: width, cells).text, .selected)
        }
        return [header] + rows
    }

    private func drawEvents(_ width: Int, _ height: Int) -> [Line] {
        let header = heading(.events, title(.events), width)
        guard !snapshot.events.isEmpty else { return [header, Line("no event", .faint)] }
        let end = max(1, snapshot.events.count - (state.positions[.events] ?? 0))
        return [header]
            + snapshot.events[..<end].suffix(max(0, height - 1)).map {
                Line(eventText($0), $0.isAlarming ? .alarm : .plain)
            }
    }

    private func eventText(_ event: Snapshot.Event) -> String {
        Amount.time(event.time) + (event.isAlarming ? " ! " : "   ") + cells.shown(event.text)
    }

    // MARK: Flows

    /// The nodes that pages have moved between, those with the most first.
    private var matrixNodes: [Int] {
        var sums: [Int: Double] = [:]
        for flow in snapshot.flows {
            sums[flow.flow.from, default: 0] += flow.total
            sums[flow.flow.to, default: 0] += flow.total
        }
        return sums.sorted { ($0.value, $1.key) > ($1.value, $0.key) }.map(\.key)
    }

    /// The flows in MB/s: from the node of the row to that of the column. Empty where there is no room, or nothing to see.
    private func matrix(_ width: Int) -> [Line] {
        let (label, column) = (10, 8)
        let nodes = matrixNodes.prefix(max(0, (width - label) / column)).sorted()
        guard nodes.count > 1 else { return [] }
        var sums: [[Int]: Double] = [:]
        for flow in snapshot.flows { sums[[flow.flow.from, flow.flow.to], default: 0] += flow.rate }
        func cell(_ text: String, _ style: Style) -> Line {
            Line(cells.fitted(text, to: column, isLeading: false), style)
        }
        var head = Line(cells.fitted("from\\to", to: label), .strong)
        for node in nodes { head.add(cell("node\(node)", .strong)) }
        return [head]
            + nodes.map { from in
                var line = Line(cells.fitted("node\(from)", to: label), .strong)
                for to in nodes {
                    let rate = sums[[from, to]] ?? 0
                    line.add(
                        from == to && rate == 0
                            ? cell("-", .faint) : cell(Amount.megabytes(rate), rate > 0 ? .strong : .faint))
                }
                return line
            }
    }

    // MARK: Help

    /// What the keys do, and what is shown.
    package static let help = [
        "q          quit, as Ctrl-C",
        "? h        this help",
        "p space    stop and go on",
        "1 to 8     choose a panel, which takes the keys",
        "Tab        the next panel; Shift-Tab the one before",
        "z Enter    the panel on the whole screen, and back",
        "Up Down    choose a buffer, or scroll; PgUp PgDn Home End",
        "s S        sort by the next column, or the one before",
        "r          reverse the order",
        "+ - 0      double, halve or reset the map of the buffer",
        "Left Right move the map",
        "Ctrl-L     draw the screen anew",
        "",
        "NODES    by memory tier. MARK is the watermark that free memory is",
        "         below. The bar: active pages, other used ones, free ones;",
        "         h, l, m where free memory is at high, low, min.",
        "FAULTS   pages a second. HIT as intended, MISS intended elsewhere,",
        "         FOREIGN intended here and placed elsewhere, LOCAL and OTHER",
        "         by where the task runs; HINT hinting faults, DEVICE faults of",
        "         its MMU, REFUSED by isolation; DEMOTE from and PROMOTE to it.",
        "FLOWS    pages between nodes: MB/s now, and the sum since the mount.",
        "LINKS    COPY is what the copy engine moves. MODEL and STALL are the",
        "         shares of the time that faults and copies take by the model,",
        "         and that errors stop the link.",
        "BUFFERS  a second: TOUCH pages that got a frame, READ and WRITE",
        "         requests, REFUSE touches without a frame, MOVE pages moved.",
        "         Loads and stores of pages in the page cache are not seen.",
        "TASKS    threads: the same of what they asked for.",
        "MAP      of the selected buffer: a cell is the node of its pages,",
        "         0 to 9, a to z; nodes take turns where a cell has several.",
        "         A dot has no page. Below: ! poisoned, x lost, > on the way",
        "         to another node, ^ pinned.",
        "EVENTS   ! is worth a look.",
    ]
}
