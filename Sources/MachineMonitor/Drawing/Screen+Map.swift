extension Screen {
    /// The letter of a node on a map: 0 to 9, a to z, A to Z, then `#`.
    static func letter(of node: Int) -> Character {
        let letters = Array("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        return letters.indices.contains(node) ? letters[node] : "#"
    }

    /// The letters of flags, by their order in ``BufferMap/Flags/words``.
    private static let letters = ["!", "x", ">", "^"]

    private static func letter(of flags: BufferMap.Flags) -> String? {
        zip(BufferMap.Flags.words, letters).first { flags.contains($0.0.flag) }?.1
    }

    /// What the map is of; nil where there is none.
    var mapTitle: String? {
        guard let map = snapshot.map, let buffer = snapshot.buffers.first(where: { $0.id == map.buffer }) else {
            return nil
        }
        let range = map.map.range
        let end = min(range.upperBound, max(buffer.figures.size, range.lowerBound))
        let part =
            range.lowerBound == 0 && end >= buffer.figures.size
            ? Amount.bytes(Double(buffer.figures.size))
            : "0x\(String(range.lowerBound, radix: 16))-0x\(String(end, radix: 16)) of \(Amount.bytes(Double(buffer.figures.size)))"
        let share = Double(map.map.end - range.lowerBound) / Double(max(1, range.length))
        return cells.shown(buffer.figures.name) + ", " + part
            + (map.isWhole ? "" : ", read to " + Amount.percent(min(1, share)))
    }

    /// The figures below the map.
    private func legend(_ map: BufferMap, _ cell: UInt64) -> String {
        var pages: [Int: UInt64] = [:]
        for part in map.parts { for (node, count) in part.pages { pages[node, default: 0] += count } }
        var words = pages.sorted { $0.key < $1.key }.map {
            "\(Self.letter(of: $0.key)) node\($0.key) \(Amount.bytes(Double($0.value) * 4096))"
        }
        for ((word, flag), letter) in zip(BufferMap.Flags.words, Self.letters) {
            if let count = map.counts[flag] { words.append("\(letter) \(word) \(Amount.bytes(Double(count) * 4096))") }
        }
        let sum = pages.values.reduce(0, +) * 4096
        let size = map.range.length
        if sum < size { words.append(". no page \(Amount.bytes(Double(size - sum)))") }
        words.append("a cell is \(Amount.bytes(Double(cell)))")
        return words.joined(separator: "  ")
    }

    /// The rows of a map and the bytes of a cell: at most `height` lines, of `width` cells.
    private func rows(_ map: BufferMap, _ width: Int, _ height: Int) -> (lines: [Line], cell: UInt64) {
        let digits = String(max(1, map.range.upperBound - 1), radix: 16).count
        let room = max(1, width - digits - 3)
        // Rows that begin at offsets that are easy to read.
        let perRow = room >= 16 ? room / 8 * 8 : room
        for count in stride(from: height, to: 0, by: -1) {
            let rows = rows(map, perRow, count, digits)
            if rows.lines.count <= height || count == 1 { return rows }
        }
        return ([], map.partLength)
    }

    private func rows(
        _ map: BufferMap, _ perRow: Int, _ count: Int, _ digits: Int
    ) -> (lines: [Line], cell: UInt64) {
        let (parts, ratio) = map.cells(perRow * count)
        let cell = map.partLength * UInt64(ratio)
        // What a node has too little of in the cells before, so that several nodes of a cell take turns as their shares are.
        var debts: [Int: Double] = [:]
        var lines: [Line] = []
        for start in stride(from: 0, to: parts.count, by: perRow) {
            let number = String(map.range.lowerBound + UInt64(start) * cell, radix: 16)
            var line = Line("0x" + String(repeating: "0", count: max(0, digits - number.count)) + number + " ", .faint)
            var marks = ""
            for part in parts[start..<min(parts.count, start + perRow)] {
                marks += Self.letter(of: part.flags) ?? " "
                let sum = part.pages.values.reduce(0, +)
                guard sum > 0 else {
                    line.add(".", .faint)
                    continue
                }
                for (node, pages) in part.pages { debts[node, default: 0] += Double(pages) / Double(sum) }
                let node = part.pages.keys.max { (debts[$0]!, $1) < (debts[$1]!, $0) }!
                debts[node]! -= 1
                line.add(String(Self.letter(of: node)), .node(node))
            }
            lines.append(line)
            if marks.contains(where: { $0 != " " }) {
                var line = Line(String(repeating: " ", count: digits + 3))
                line.add(marks, .alarm)
                lines.append(line)
            }
        }
        return (lines, cell)
    }

    func drawMap(_ width: Int, _ height: Int) -> [Line] {
        let isFocused = state.focus == .map
        let name = (isFocused ? "[7] " : " 7  ") + Panel.map.title
        let title = Line(
            cells.fitted(name + (mapTitle.map { " " + $0 } ?? ""), to: width), isFocused ? .focused : .heading)
        guard let map = snapshot.map, mapTitle != nil else { return [title, Line("no buffer", .faint)] }
        let (lines, cell) = rows(map.map, width, max(1, height - 2))
        return [title] + lines + [Line(legend(map.map, cell))]
    }

    var mapPage: [String] {
        guard let map = snapshot.map, mapTitle != nil else { return ["no buffer"] }
        let (lines, cell) = rows(map.map, 76, 8)
        return lines.map(\.trimmed) + [legend(map.map, cell)]
    }
}
