import ArgumentParser
import CoherentMemory
import SystemPackage

/// `cdmfs topology`
struct TopologyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "topology",
        abstract: "Print a machine as a topology file, or check one.",
        discussion: """
            Without options it prints the machine that is mounted where no topology is given: the start for one of your \
            own. --check prints the machine of a file with every default filled in, or what is wrong with it, in one line.
            """)

    @Option(help: ArgumentHelp("Print the machine of this name.", valueName: "name"))
    var preset: String?

    @Option(help: ArgumentHelp("Check a file and print what it describes.", valueName: "file"))
    var check: String?

    @Flag(help: "List the names of all presets.")
    var list = false

    func validate() throws {
        guard [preset != nil, check != nil, list].count(where: { $0 }) <= 1 else {
            throw ValidationError("--preset, --check and --list exclude each other.")
        }
    }

    func run() throws {
        do throws(TopologyError) {
            if list {
                for preset in Topology.presets { print(preset.name) }
            } else if let check {
                print(try Topology(contentsOf: FilePath(check)).toml, terminator: "")
            } else {
                print(try Topology.preset(preset ?? "default").toml, terminator: "")
            }
        } catch {
            throw Failure(error)
        }
    }
}
