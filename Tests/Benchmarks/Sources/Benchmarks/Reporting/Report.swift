import Foundation

/// What a group came to.
struct Section {
    let group: Group
    let outcomes: [Outcome]

    /// Those who took part, in the order of the group's table.
    var columns: [Contestant] { group.columns }
}

/// A run in Markdown: the ratios, then a table and plots for each group that has columns.
struct Report {
    let sections: [Section]
    let rounds: Int
    let host: String
    let notes: [String]

    /// - Parameter plots: where the plots are, as seen from the file that this goes into; `nil` if they are not drawn.
    func markdown(plots: String?) -> String {
        let parts =
            [heading, ratios] + sections.filter { !$0.columns.isEmpty }.map { table($0, plots: plots) }
            + (notes.isEmpty ? [] : ["Not measured:\n\n" + notes.map { "* \($0)" }.joined(separator: "\n")])
        return parts.joined(separator: "\n\n") + "\n"
    }

    private var heading: String {
        "\(host). All figures are of one run, \(rounds) \(rounds == 1 ? "round" : "rounds") in which the contestants took turns: "
            + "minimum / **median** / maximum."
    }

    private var ratios: String {
        let head = """
            | what | who | figure | peer | the peer's | ratio | aim | met |
            |---|---|---|---|---|---|---|---|
            """
        let rows = sections.flatMap { section in
            let ratios = section.outcomes.flatMap { outcome in outcome.row.aims.map { ratio(outcome, $0) } }
            return ratios.isEmpty
                ? [] : [Self.line(["**\(section.group.title)**"] + Array(repeating: "", count: 7))] + ratios
        }
        return ([head] + rows).joined(separator: "\n")
    }

    private func ratio(_ outcome: Outcome, _ aim: Aim) -> String {
        let (row, sign) = (outcome.row, outcome.row.unit.isRate ? "≥ " : "≤ ")
        let median = { (contestant: Contestant) in
            outcome.summary(of: contestant).map { row.unit.text($0.median) } ?? "–"
        }
        let wanted = aim.figure.map { sign + row.unit.text($0) } ?? aim.ratio.map { sign + Unit.text($0) } ?? "–"
        return Self.line([
            row.title, aim.ours.name, median(aim.ours), aim.peer.name, median(aim.peer),
            outcome.ratio(aim)?.markdown ?? "–", wanted,
            outcome.meets(aim).map { $0 ? "yes" : "**no**" } ?? "–",
        ])
    }

    private func table(_ section: Section, plots: String?) -> String {
        let columns = section.columns
        var lines = [
            "### \(section.group.title)", "", Self.line(["what"] + columns.map(\.name)),
            Self.line(Array(repeating: "---", count: columns.count + 1)),
        ]
        for outcome in section.outcomes {
            lines.append(
                Self.line(
                    ["\(outcome.row.title), \(outcome.row.unit.rawValue)"]
                        + columns.map { outcome.summary(of: $0)?.markdown ?? "–" }))
        }
        guard let plots else { return lines.joined(separator: "\n") }
        let images = Chart.all(of: section).map { "![\($0.title)](\(plots)/\($0.fileName))" }
        return (lines + [""] + images).joined(separator: "\n")
    }

    private static func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }

    /// Draws every plot into a directory and writes the Markdown beside them.
    func write(to directory: URL) throws {
        try drawPlots(in: directory)
        try Data(markdown(plots: ".").utf8).write(to: directory.appendingPathComponent("results.md"))
    }

    /// Draws every plot into a directory, which is made if it does not exist, in place of the plots that are there.
    func drawPlots(in directory: URL) throws {
        let files = FileManager.default
        try files.createDirectory(at: directory, withIntermediateDirectories: true)
        // Plots of groups that are no more would stay.
        for old in try files.contentsOfDirectory(at: directory, includingPropertiesForKeys: nil)
        where old.pathExtension == "svg" { try files.removeItem(at: old) }
        for chart in sections.filter({ !$0.columns.isEmpty }).flatMap(Chart.all) {
            try Data(chart.svg().utf8).write(to: directory.appendingPathComponent(chart.fileName))
        }
    }

    /// Replaces what stands between the two marks in a file.
    func update(_ file: URL, plots: String) throws {
        let text = try String(contentsOf: file, encoding: .utf8)
        guard let begin = text.range(of: Self.begin), let end = text.range(of: Self.end),
            begin.upperBound <= end.lowerBound
        else { throw Failure("\(file.path): expected \(Self.begin) and, after it, \(Self.end)") }
        let new = text[..<begin.upperBound] + "\n\n" + markdown(plots: plots) + "\n" + text[end.lowerBound...]
        try Data(new.utf8).write(to: file, options: .atomic)
    }

    private static let begin = "<!-- benchmarks -->"
    private static let end = "<!-- end of benchmarks -->"
}
