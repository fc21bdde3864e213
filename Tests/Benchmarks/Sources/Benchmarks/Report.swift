import Foundation

/// The table as Markdown.
struct Report {
    let rounds: Int

    func heading() -> String {
        """
        Each ratio is cdmfs by its peer, taken in turn within one run: minimum / **median** / maximum of \(rounds) rounds.
        \(Host.description).

        | what | peer | the peer's | cdmfs | ratio | aim | met |
        |---|---|---|---|---|---|---|
        """
    }

    func row(_ result: Contest.Result) -> String {
        let contest = result.contest
        let sign = contest.unit == .gigabytesPerSecond ? "≥ " : "≤ "
        let aim = contest.limit.map { sign + figure($0, contest.unit) } ?? contest.aim.map { sign + number($0) } ?? "–"
        let met = result.meetsAim.map { $0 ? "yes" : "no" } ?? "–"
        let ratio = result.ratio
        let ratios = "\(number(ratio.minimum)) / **\(number(ratio.median))** / \(number(ratio.maximum))"
        let cells = [
            contest.title, contest.peer, figure(result.peer.median, contest.unit),
            figure(result.ours.median, contest.unit),
            ratios,
            aim,
            met,
        ]
        return "| " + cells.joined(separator: " | ") + " |"
    }

    private func number(_ value: Double) -> String { String(format: "%.2f", value) }

    private func figure(_ value: Double, _ unit: Contest.Unit) -> String {
        switch unit {
        case .gigabytesPerSecond: String(format: "%.1f GB/s", value)
        case .microseconds: String(format: "%.2f µs", value)
        case .seconds: String(format: "%.2f s", value)
        }
    }
}

/// The machine that measures.
enum Host {
    static var description: String {
        let processors = ProcessInfo.processInfo.activeProcessorCount
        return "\(model), \(processors) CPUs, Linux \(read("/proc/sys/kernel/osrelease"))"
            + "; load when it began \(read("/proc/loadavg").split(separator: " ").first ?? "unknown")"
    }

    private static var model: String {
        let line = read("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
        guard let name = line?.split(separator: ":").last else { return "unknown processor" }
        return name.trimmingCharacters(in: .whitespaces)
    }

    private static func read(_ path: String) -> String {
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? "unknown"
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
