import ArgumentParser
import Foundation

/// Measures a mount of cdmfs against its peers and prints the table.
@main
struct Benchmarks: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure cdmfs against its peers.",
        discussion: "Needs root, to mount. Tests/Benchmarks/run builds what it needs and starts it.")

    @Option(help: "The cdmfs to measure.")
    var cdmfs: String

    @Option(help: "The directory to mount in.")
    var scratch: String

    @Option(name: .customLong("plainloop"), help: "The plain C loop (default: the one beside this program).")
    var plainLoop: String?

    @Option(help: "Rounds that count, beside one that warms up.")
    var rounds = 7

    @Option(help: ArgumentHelp("Measure only rows whose title has this in it.", valueName: "text"))
    var only: String?

    func validate() throws {
        guard rounds >= 1 else { throw ValidationError("--rounds \(rounds); expected at least 1") }
    }

    func run() throws {
        let beside = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        let rows = Rows(
            cdmfs: cdmfs, plainLoop: plainLoop ?? beside.appendingPathComponent("plainloop").path, scratch: scratch,
            bytes: 256 << 20, requests: 40_000)
        let report = Report(rounds: rounds)
        say(report.heading())
        for group in rows.groups {
            try group { contests in
                for contest in contests where only.map({ contest.title.contains($0) }) ?? true {
                    say(report.row(try contest.run(rounds: rounds)))
                }
            }
        }
    }

    /// Each row as soon as it is there, into a pipe, too.
    private func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
}
