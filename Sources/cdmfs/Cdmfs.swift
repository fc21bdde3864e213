import ArgumentParser
import Glibc

/// The command.
@main
struct Cdmfs: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cdmfs",
        abstract: "A simulated machine with coherent device memory, as a file system.",
        discussion: """
            Mount a machine, browse its sys/ tree with the usual tools, map dev/cdm0 or a file below buffers/, and \
            control where the pages are:

              cdmfs mount /mnt/cdm
              truncate -s 64M /mnt/cdm/buffers/a
              echo 1 > /mnt/cdm/sys/kernel/cdm/buffers/a/migrate
              cdmfs run --mount /mnt/cdm -- numactl -H
              cdmfs run --preset two-socket -- numactl -H
              cdmfs numa_maps $$
              cdmfs unmount /mnt/cdm

            `cdmfs help FILE` explains a file of a mount, as in `cdmfs help buffers/a/migrate`; `cdmfs help --all` lists all files. \
            `cdmfs --generate-completion-script SHELL` prints the completions for bash, zsh or fish.

            Exit status: 0 on success, 64 for wrong usage, 65 for an invalid topology file, 66 for a topology file that \
            cannot be read, 32 for a mount or unmount that fails, 1 for any other failure. `run` exits with the status of its command.
            """,
        version: "0.1.0",
        subcommands: [
            Mount.self, Unmount.self, TopologyCommand.self, Run.self, RunInside.self, SetCommand.self, TopCommand.self,
            Record.self, Report.self, ReplayCommand.self, MetricsCommand.self, NumaMaps.self, Help.self,
        ])

    static func main() {
        let words = Array(CommandLine.arguments.dropFirst())
        if let script = CompletionScript.requested(by: words) { return print(script) }
        do {
            var command = try parseAsRoot(separatingOptions(words))
            try command.run()
        } catch let failure as Failure {
            failure.end()
        } catch {
            // The parser's own message would take several lines.
            if exitCode(for: error) == .validationFailure { Failure(usage: message(for: error), words).end() }
            exit(withError: error)
        }
    }

    /// The names of the commands.
    static var commandNames: [String] {
        configuration.subcommands.map { command in command.configuration.commandName ?? command._commandName }
    }

    /// The command of a name, or of an alias.
    static func command(named name: String) -> (any ParsableCommand.Type)? {
        configuration.subcommands.first { command in
            let configuration = command.configuration
            return ([configuration.commandName ?? command._commandName] + configuration.aliases).contains(name)
        }
    }

    /// `-oWORDS` as `-o WORDS`, which is what mount(8) and its kind allow and the parser does not where there is a `=`.
    private static func separatingOptions(_ words: [String]) -> [String] {
        guard words.first == "mount" else { return words }
        let end = words.firstIndex(of: "--") ?? words.count
        let options = words[..<end].flatMap { word in
            word.hasPrefix("-o") && word != "-o" ? ["-o", String(word.dropFirst(2))] : [word]
        }
        return options + words[end...]
    }
}
