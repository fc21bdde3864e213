import ArgumentParser
import Foundation

/// Measures a mount of cdmfs against its peers and prints the tables.
@main
struct Benchmarks: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure cdmfs against its peers.",
        discussion: """
            Needs root, to mount. Tests/Benchmarks/run builds what it needs and starts it. Says on stderr what it measures, and \
            prints the tables when it is through.
            """)

    @Option(help: "The cdmfs to measure.")
    var cdmfs: String

    @Option(help: "The directory to mount in.")
    var scratch: String

    @Option(name: .customLong("plainloop"), help: "The plain C loop (default: the one beside this program).")
    var plainLoop: String?

    @Option(help: "The directory with libfuse's memfs_ll and passthrough_ll.")
    var peers: String?

    @Option(help: "Rounds that count, beside one that warms up.")
    var rounds = 5

    @Option(name: .customLong("group"), help: "Measure only this group; may be given more than once (see --list).")
    var names: [String] = []

    @Option(help: ArgumentHelp("Measure only rows whose title has this in it.", valueName: "text"))
    var only: String?

    @Option(
        help: ArgumentHelp(
            "MiB of the file that is accessed at random (default: up to 4096, as memory allows).", valueName: "MiB"))
    var random: Int?

    @Option(
        help: ArgumentHelp(
            "Seconds after which no other row is begun (default: 280, or a day with --group and --update-readme)."))
    var seconds: Int?

    @Option(help: "Buffers that group scale measures against 1,000.")
    var buffers = 1_000_000

    @Option(help: ArgumentHelp("Write the tables and the plots into this directory.", valueName: "directory"))
    var output: String?

    @Flag(help: "Put the tables into Tests/Benchmarks/README.md, and the plots beside it.")
    var updateReadme = false

    @Flag(help: "Draw the plots of Tests/Benchmarks/README.md anew from its tables, and measure nothing.")
    var redraw = false

    @Option(help: .hidden)
    var repository: String?

    @Flag(help: "List the groups, and measure nothing.")
    var list = false

    func validate() throws {
        guard rounds >= 1 else { throw ValidationError("--rounds \(rounds); expected at least 1") }
        if let random, random < 1 { throw ValidationError("--random \(random); expected at least 1") }
        guard buffers >= 1000 else { throw ValidationError("--buffers \(buffers); expected at least 1000") }
        for name in names where !Group.all.contains(where: { $0.name == name }) {
            throw ValidationError("--group \(name); expected one of \(Group.all.map(\.name).joined(separator: ", "))")
        }
        if redraw, repository == nil {
            throw ValidationError("--redraw; expected to be started by Tests/Benchmarks/run")
        }
        if updateReadme, repository == nil || !names.isEmpty || only != nil {
            throw ValidationError("--update-readme; expected all groups, and to be started by Tests/Benchmarks/run")
        }
    }

    func run() throws {
        guard !list else {
            for group in Group.all {
                print("\(group.name)\t\(group.title)\(group.isUsual ? "" : " (only if asked for)")")
            }
            return
        }
        if redraw, let repository {
            let benchmarks = URL(fileURLWithPath: repository).appendingPathComponent("Tests/Benchmarks")
            let text = try String(contentsOf: benchmarks.appendingPathComponent("README.md"), encoding: .utf8)
            try Report(markdown: text).drawPlots(in: benchmarks.appendingPathComponent("results"))
            return
        }
        let host = Host.description
        let stage = Stage(settings)
        let groups = Group.all.filter { names.isEmpty ? $0.isUsual : names.contains($0.name) }
        let end = ContinuousClock.now + .seconds(seconds ?? (names.isEmpty && !updateReadme ? 280 : 86_400))
        let sections = try groups.map { group in
            var outcomes: [Outcome] = []
            guard .now < end else {
                stage.leaveOut("\(group.name): no time was left")
                return Section(group: group, outcomes: [])
            }
            try group.measure(stage) { trials in
                for trial in trials where isWanted(trial) {
                    guard .now < end else { return stage.leaveOut("\(trial.rows[0].title): no time was left") }
                    outcomes += outcomesOf(trial, in: group, stage)
                }
            }
            return Section(group: group, outcomes: outcomes)
        }
        let report = Report(
            sections: sections.filter { !$0.outcomes.isEmpty }, rounds: rounds, host: host, notes: stage.notes)
        print(report.markdown(plots: nil))
        try save(report)
        if stage.hasFailed { throw ExitCode.failure }
    }

    private var settings: Settings {
        let beside = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        return Settings(
            cdmfs: cdmfs, plainLoop: plainLoop ?? beside.appendingPathComponent("plainloop").path,
            memoryLoop: beside.appendingPathComponent("memoryloop").path, peers: peers, scratch: scratch,
            randomBytes: random.map { $0 << 20 } ?? Settings.fittingRandomBytes(copies: Group.randomCopies),
            manyBuffers: buffers)
    }

    private func isWanted(_ trial: Trial) -> Bool {
        only.map { text in trial.rows.contains { $0.title.contains(text) } } ?? true
    }

    private func outcomesOf(_ trial: Trial, in group: Group, _ stage: Stage) -> [Outcome] {
        let start = ContinuousClock.now
        let outcomes = trial.run(rounds: rounds) { stage.failed($0, trial.rows, $1) }
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        say("\(group.name): \(trial.rows.map(\.title).joined(separator: "; ")) (\(Unit.text(seconds)) s)")
        for outcome in outcomes {
            let figures = trial.entrants.map { entrant in
                let figure = outcome.summary(of: entrant.contestant).map { outcome.row.unit.text($0.median) }
                return "\(entrant.contestant.name) \(figure ?? "–")"
            }
            say("    " + figures.joined(separator: ", "))
        }
        return outcomes
    }

    private func save(_ report: Report) throws {
        if let output { try report.write(to: URL(fileURLWithPath: output)) }
        guard updateReadme, let repository else { return }
        let benchmarks = URL(fileURLWithPath: repository).appendingPathComponent("Tests/Benchmarks")
        let plots = "results"
        try report.drawPlots(in: benchmarks.appendingPathComponent(plots))
        try report.update(benchmarks.appendingPathComponent("README.md"), plots: plots)
    }

    /// Each row as soon as it is there.
    private func say(_ line: String) { FileHandle.standardError.write(Data((line + "\n").utf8)) }
}
