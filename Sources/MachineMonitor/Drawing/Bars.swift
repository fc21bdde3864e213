/// Pictures of shares.
struct Bars {
    let cells: CellText

    private var full: String { cells.isUnicode ? "█" : "#" }
    private var half: String { cells.isUnicode ? "▒" : "=" }
    private var empty: String { cells.isUnicode ? "·" : "." }

    /// A bar of a share.
    func share(_ share: Double, _ width: Int, _ style: Style) -> Line {
        let count = Self.cells(share, width)
        var line = Line(String(repeating: full, count: count), style)
        line.add(String(repeating: " ", count: width - count))
        return line
    }

    /// A bar of the memory of a node: active and other pages, and free memory with the letters of the watermarks where the used
    /// part would reach them.
    func memory(_ node: Snapshot.Node, _ width: Int) -> Line {
        let width = max(0, width - 2)
        guard node.present > 0, width > 0 else { return Line("[" + String(repeating: " ", count: width) + "]", .faint) }
        let style: Style =
            switch node.mark {
            case .none: .good
            case .high, .low: .caution
            case .min: .alarm
            }
        let used = Self.cells(node.used / node.present, width)
        let active = min(used, Self.cells(node.active / node.present, width))
        var marks: [Int: String] = [:]
        for (mark, letter) in [(node.high, "h"), (node.low, "l"), (node.min, "m")] where mark > 0 {
            marks[width - max(1, Self.cells(mark / node.present, width))] = letter
        }
        var line = Line("[")
        for place in 0..<width {
            if let letter = marks[place] {
                line.add(letter, .strong)
            } else if place < used {
                line.add(place < active ? full : half, style)
            } else {
                line.add(empty, .faint)
            }
        }
        line.add("]")
        return line
    }

    /// The cells of a share: at least one where there is any of it, and all only where it is whole.
    static func cells(_ share: Double, _ width: Int) -> Int {
        guard share.isFinite, share > 0, width > 0 else { return 0 }
        guard share < 1 else { return width }
        return max(1, min(width - 1, Int((share * Double(width)).rounded())))
    }
}
