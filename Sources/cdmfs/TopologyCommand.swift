import ArgumentParser
import CoherentMemory
import MachineTopology
import SystemPackage
import TopologyImport

/// `cdmfs topology`
struct TopologyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "topology",
        abstract: "Print a machine as a topology file, or check one.",
        usage: """
            cdmfs topology [--preset <name> | --check <file> | --from <source>]
            cdmfs topology --list | --keys
            """,
        discussion: """
            Without options it prints the default machine, which `cdmfs mount` takes if no topology is given. --keys \
            explains what a topology file may contain. --check prints the machine of a file with every default filled in, \
            or one line with the error and its place.

            --from prints a machine that is described elsewhere: an XML file of hwloc (`lstopo --of xml`), a directory with a \
            sys/ tree (/ is this host), an archive of one (hwloc-gather-topology), a file with the text of `numactl -H`, or \
            `synthetic:` and a string of hwloc. Comments mark what is guessed. What a topology cannot express is listed on stderr.

            Exit status: 0 on success, 64 for wrong usage, 65 for an invalid file, 66 for a file that cannot be read.
            """)

    @Option(
        help: ArgumentHelp("Print the preset of this name.", valueName: "name"),
        completion: .presets)
    var preset: String?

    @Option(
        help: ArgumentHelp("Check a file and print what it describes.", valueName: "file"),
        completion: .file(extensions: ["toml"]))
    var check: String?

    @Option(
        help: ArgumentHelp("Print a machine that is described elsewhere.", valueName: "source"), completion: .file())
    var from: String?

    @Flag(help: "List the names of all presets.")
    var list = false

    @Flag(help: "Explain each key of a topology file.")
    var keys = false

    func validate() throws {
        guard [preset != nil, check != nil, from != nil, list, keys].count(where: { $0 }) <= 1 else {
            throw ValidationError("--preset, --check, --from, --list and --keys exclude each other.")
        }
    }

    func run() throws {
        if let from { return try importMachine(from) }
        do throws(TopologyError) {
            if list {
                for preset in Topology.presets { print(preset.name) }
            } else if keys {
                for table in TopologyKey.Table.allCases {
                    if table != .machine { print("\n\(table.rawValue)") }
                    for key in table.keys { print("\(key.name) = \(key.form)\n    \(key.explanation)") }
                }
            } else if let check {
                print(try Topology(contentsOf: FilePath(check)).toml, terminator: "")
            } else {
                print(try Topology.preset(preset ?? "default").toml, terminator: "")
            }
        } catch {
            throw Failure(error)
        }
    }

    private func importMachine(_ source: String) throws {
        do throws(ImportError) {
            let machine = try ImportedTopology(try TopologySource(source))
            print(machine.toml, terminator: "")
            for omission in machine.omissions { complain("topology: \(source): left out: \(omission)") }
        } catch {
            throw Failure(Failure.Status(rawValue: error.kind.rawValue) ?? .failure, "topology: \(error)")
        }
    }
}
