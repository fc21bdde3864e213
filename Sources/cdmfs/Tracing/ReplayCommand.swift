import ArgumentParser
import CoherentMemory
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage
import TraceFormat
import TraceReplay
import TraceReport

/// `cdmfs replay`
struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Replay a recorded trace under other rules, and compare.",
        usage: """
            cdmfs replay <trace> [--topology <file>] [--policy <policy> ...]
                [--isolation <word>] [--demotion on|off] [--balancing <mode>]
                [--format text|json|html]
            """,
        discussion: """
            Repeats what programs and users did on a machine without a mount: touches, frees, settings, migrations on request, \
            blocks and links that go, poison. Placement, refusals, demotions and promotions follow from that. No program runs, and \
            nothing waits: the times are those of the trace. The same trace and options give the same figures on every machine.

            The first column of the table is what was recorded, the second the replay with the rules of the record. Each --policy \
            adds a column, in which it takes the place of the policies of all buffers, ranges and tasks. --isolation, --demotion and \
            --balancing apply to these columns, or to one of their own without --policy. With --topology all replays are on another \
            machine; it must have the nodes that the trace has pages on.

            Touches of pages that a program has mapped are not in a trace: where the record had neither demotion nor balancing on, \
            a replay with them takes every page for unused after its first touch. Lines below the table say what else is missing.

            html is a page with the table and a picture of each figure, for a file.

            Exit status: 0 on success, 64 for wrong usage, 65 for a file that is no trace or a topology that is invalid or does not \
            fit, 66 for a file that cannot be read.
            """)

    /// The forms of a comparison.
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text
        case json
        case html
    }

    /// On or off.
    enum Switch: String, ExpressibleByArgument, CaseIterable {
        case on
        case off
    }

    @Argument(help: "The recorded file.", completion: .file())
    var trace: String

    @Option(
        help: ArgumentHelp("Replay on the machine of a TOML file.", valueName: "file"),
        completion: .file(extensions: ["toml"]))
    var topology: String?

    @Option(
        help: ArgumentHelp(
            "Compare with a policy for all pages, as \"bind:1\" or \"interleave:0-1\".", valueName: "policy"))
    var policy: [String] = []

    @Option(
        help: ArgumentHelp(
            "Isolation of every coherent node.", valueName: "word"))
    var isolation: Isolation?

    @Option(help: ArgumentHelp("Whether reclaim moves pages to slower tiers.", valueName: "on|off"))
    var demotion: Switch?

    @Option(help: ArgumentHelp("The mode of automatic NUMA balancing, 0 to 3.", valueName: "mode"))
    var balancing: UInt8?

    @Option(help: "The form of the comparison.")
    var format = Format.text

    func run() throws {
        if let balancing, balancing > 3 {
            throw Failure(.usage, "replay: --balancing \(balancing): expected 0 to 3")
        }
        if format == .html, isatty(STDOUT_FILENO) == 1 {
            throw Failure(.usage, "replay: a page is not for a terminal: expected > FILE or --format text")
        }
        let recorded = try read()
        let machine = try machine(of: recorded)
        do throws(ReplayError) {
            let comparison = try ReplayComparison(of: recorded, on: machine, variants: variants)
            print(text(of: comparison), terminator: "")
        } catch {
            throw Failure(error.status, "replay: \(trace): \(error)")
        }
    }

    private func text(of comparison: ReplayComparison) -> String {
        switch format {
        case .text: return comparison.text
        case .json: return comparison.json
        case .html:
            let name = FilePath(trace).lastComponent?.string ?? trace
            var page = Comparison("Replays of \(name.printable)", variants: comparison.columns.map(\.name))
            for section in comparison.sections {
                for row in section.rows {
                    page.append(
                        "\(section.title): \(row.name)", unit: section.unit == .count ? "" : section.unit.rawValue,
                        row.values.map { $0.map(Double.init) })
                }
            }
            for column in comparison.columns {
                for note in column.notes { page.note("\(column.name): \(note)") }
            }
            return page.html
        }
    }

    private var variants: [ReplayOptions] {
        func options(_ policy: String?) -> ReplayOptions {
            ReplayOptions(
                policy: policy, isolation: isolation, demotion: demotion.map { $0 == .on }, balancing: balancing)
        }
        if !policy.isEmpty { return policy.map(options) }
        return isolation == nil && demotion == nil && balancing == nil ? [] : [options(nil)]
    }

    private func read() throws -> RecordedTrace {
        let file: FileDescriptor
        do {
            file = try FileDescriptor.open(FilePath(trace), .readOnly, options: .closeOnExec)
        } catch {
            throw Failure(.noInput, "replay: \(trace): \(error)")
        }
        defer { try? file.close() }
        do {
            return try RecordedTrace(file)
        } catch {
            throw Failure(error.status, "replay: \(trace): \(error)")
        }
    }

    private func machine(of recorded: RecordedTrace) throws -> Topology {
        if let topology { return try MachineSource.file(topology).topology() }
        guard let text = recorded.topology else {
            throw Failure(ReplayError.noTopology.status, "replay: \(trace): \(ReplayError.noTopology)")
        }
        do {
            return try Topology(toml: text, file: trace)
        } catch {
            throw Failure(error)
        }
    }
}

extension Isolation: ExpressibleByArgument {}

extension ReplayError {
    /// The exit status of a command that meets it.
    fileprivate var status: Failure.Status {
        switch self {
        case .noTopology, .policy: .usage
        case .missingNodes: .data
        case .memory: .failure
        }
    }
}
