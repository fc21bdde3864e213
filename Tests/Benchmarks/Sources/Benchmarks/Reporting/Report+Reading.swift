import Foundation

extension Report {
    /// The run whose tables stand in Markdown, as far as they tell: three figures of each row and contestant, with three digits.
    init(markdown text: String) {
        var sections: [Section] = []
        var group: Group?
        var columns: [Contestant] = []
        var outcomes: [Outcome] = []
        func endSection() {
            if let group, !outcomes.isEmpty { sections.append(Section(group: group, outcomes: outcomes)) }
            (group, columns, outcomes) = (nil, [], [])
        }
        for line in text.split(separator: "\n") {
            if line.hasPrefix("#") {
                endSection()
                group = Group.all.first { line == "### \($0.title)" }
                continue
            }
            guard group != nil, line.hasPrefix("| "), !line.hasPrefix("| ---") else { continue }
            let cells = line.dropFirst(2).dropLast(2).components(separatedBy: " | ")
            if cells[0] == "what" {
                columns = cells.dropFirst().map { Contestant($0) }
            } else if let outcome = Outcome(cells, columns) {
                outcomes.append(outcome)
            }
        }
        endSection()
        self.init(sections: sections, rounds: 0, host: "", notes: [])
    }
}

extension Outcome {
    /// The outcome of a row of a table: its title with the unit, then the figures of each contestant.
    fileprivate init?(_ cells: [String], _ columns: [Contestant]) {
        guard let comma = cells[0].range(of: ", ", options: .backwards), cells.count == columns.count + 1,
            let unit = Unit(rawValue: String(cells[0][comma.upperBound...]))
        else { return nil }
        var samples: [Contestant: [Double]] = [:]
        for (contestant, cell) in zip(columns, cells.dropFirst()) {
            let figures = cell.replacingOccurrences(of: "*", with: "").components(separatedBy: " / ").compactMap(
                Self.figure)
            if figures.count == 3 { samples[contestant] = figures }
        }
        self.init(row: Row(String(cells[0][..<comma.lowerBound]), unit), samples: samples)
    }

    /// The figure that ``Unit/text(_:)-swift.type.method`` has written.
    private static func figure(_ text: String) -> Double? {
        let factor = text.hasSuffix(" M") ? 1e6 : text.hasSuffix(" k") ? 1e3 : 1
        return Double(factor == 1 ? text : String(text.dropLast(2))).map { $0 * factor }
    }
}
