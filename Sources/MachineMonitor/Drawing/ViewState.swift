/// What the user has chosen to see.
package struct ViewState: Sendable {
    /// The panel that the keys go to.
    package private(set) var focus = Panel.nodes
    /// Whether that one has the whole screen.
    package private(set) var isZoomed = false
    /// Whether the view stands still.
    package private(set) var isPaused = false
    /// Whether the help is shown.
    package private(set) var showsHelp = false
    /// How tables are sorted, where not as they come.
    private(set) var sorts: [Panel: Sort] = [:]
    /// The first row of a table that is shown; of the events, how many newer ones are not.
    private(set) var positions: [Panel: Int] = [:]
    /// The selected buffer; nil for the hottest one.
    package private(set) var selected: UInt64?
    /// How often the map was doubled.
    private(set) var zoom = 0
    /// Where the map begins, in bytes.
    private(set) var mapStart: UInt64 = 0
    /// The first line of the help.
    private(set) var helpPosition = 0

    /// What is shown first.
    package init() {}

    /// What a key has done.
    package enum Outcome: Sendable {
        /// The screen is to be drawn anew.
        case changed
        /// The same, from scratch.
        case redraw
        /// The view ends.
        case quit
        /// Nothing.
        case nothing
    }

    /// Takes a key.
    ///
    /// - Parameters:
    ///   - snapshot: what was shown.
    ///   - pageLength: the rows by which a page goes on.
    package mutating func press(_ key: Key, _ snapshot: Snapshot, pageLength: Int) -> Outcome {
        switch key {
        case .character("q"): return .quit
        case .character("\u{c}"): return .redraw
        case .character("?"), .character("h"):
            showsHelp.toggle()
            helpPosition = 0
        case .character(" "), .character("p"): isPaused.toggle()
        case .escape:
            if showsHelp { showsHelp = false } else { isZoomed = false }
        case .tab: focus(on: Panel(rawValue: focus.rawValue + 1) ?? .nodes)
        case .backTab: focus(on: Panel(rawValue: focus.rawValue - 1) ?? .events)
        case .character("z"), .enter:
            isZoomed.toggle()
            showsHelp = false
        case .character(let character):
            if let digit = character.wholeNumberValue, let panel = Panel(rawValue: digit) {
                focus(on: panel)
            } else {
                return adjust(character, snapshot)
            }
        case .up: move(by: -1, snapshot)
        case .down: move(by: 1, snapshot)
        case .pageUp: move(by: -pageLength, snapshot)
        case .pageDown: move(by: pageLength, snapshot)
        case .home: move(by: -Self.all, snapshot)
        case .end: move(by: Self.all, snapshot)
        case .left: shift(by: -1, snapshot)
        case .right: shift(by: 1, snapshot)
        }
        return .changed
    }

    /// Of more rows than there are.
    private static let all = 1 << 40

    private mutating func focus(on panel: Panel) {
        focus = panel
        showsHelp = false
    }

    private mutating func adjust(_ character: Character, _ snapshot: Snapshot) -> Outcome {
        switch character {
        case "s", "S":
            let count = Screen.columnCount(of: focus)
            guard count > 0 else { return .nothing }
            // From the order in which they come through all columns, and back.
            let place = (sorts[focus]?.column ?? -1) + (character == "s" ? 1 : -1)
            let next = (place + 1 + count + 1) % (count + 1) - 1
            sorts[focus] = next < 0 ? nil : Sort(column: next)
        case "r":
            guard sorts[focus] != nil else { return .nothing }
            sorts[focus]?.isReversed.toggle()
        case "+", "=": zoomMap(by: 1, snapshot)
        case "-": zoomMap(by: -1, snapshot)
        case "0": (zoom, mapStart) = (0, 0)
        default: return .nothing
        }
        return .changed
    }

    private mutating func move(by rows: Int, _ snapshot: Snapshot) {
        if showsHelp {
            helpPosition = min(max(0, helpPosition + rows), Screen.help.count - 1)
            return
        }
        switch focus {
        case .buffers, .map:
            let buffers = Screen.buffers(of: snapshot, self)
            guard !buffers.isEmpty else { return }
            let old = buffers.firstIndex { $0.id == selected } ?? 0
            let new = min(max(0, old + rows), buffers.count - 1)
            selected = buffers[new].id
            if new != old { (zoom, mapStart) = (0, 0) }
        default:
            let count = Screen.rowCount(of: focus, snapshot)
            let sign = focus == .events ? -1 : 1
            positions[focus] = min(max(0, (positions[focus] ?? 0) + sign * rows), max(0, count - 1))
        }
    }

    // MARK: The map

    /// The shortest range that the map shows.
    private static let shortest: UInt64 = 64 * 4096

    /// The buffer that the map shows: the selected one, or the hottest.
    package func buffer(of snapshot: Snapshot) -> Snapshot.Buffer? {
        snapshot.buffers.first { $0.id == selected } ?? Screen.buffers(of: snapshot, self).first
    }

    /// The bytes of a buffer that the map shows.
    package func mapRange(ofSize size: UInt64) -> Range<UInt64> {
        let length = max(min(size, Self.shortest), size >> UInt64(zoom)) / 4096 * 4096
        guard length > 0 else { return 0..<size }
        let start = min(mapStart, size - length) / 4096 * 4096
        return start..<(zoom == 0 ? size : start + length)
    }

    private mutating func zoomMap(by step: Int, _ snapshot: Snapshot) {
        guard let size = buffer(of: snapshot)?.figures.size else { return }
        let old = mapRange(ofSize: size)
        let middle = old.lowerBound + old.length / 2
        guard step < 0 || old.length > Self.shortest else { return }
        zoom = max(0, zoom + step)
        let half = mapRange(ofSize: size).length / 2
        mapStart = middle > half ? middle - half : 0
    }

    private mutating func shift(by step: Int, _ snapshot: Snapshot) {
        guard let size = buffer(of: snapshot)?.figures.size else { return }
        let range = mapRange(ofSize: size)
        let part = range.length / 4
        mapStart =
            step > 0
            ? min(range.lowerBound + part, size - min(size, range.length))
            : range.lowerBound - min(range.lowerBound, part)
    }
}
