import ArgumentParser
import Glibc

/// The command.
@main
struct Cdmfs: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cdmfs",
        abstract: "A simulated machine with coherent device memory, as a file system.",
        discussion: """
            Mount it, browse its sys/ tree with the tools for the real one, map dev/cdm0 or a file under buffers/, and \
            watch and steer where the pages are:

              cdmfs mount /mnt/cdm
              truncate -s 64M /mnt/cdm/buffers/a
              echo 1 > /mnt/cdm/sys/kernel/cdm/buffers/a/migrate
              cdmfs run --mount /mnt/cdm -- numactl -H
              cdmfs run --preset two-socket -- numactl -H
              cdmfs numa_maps $$
              cdmfs unmount /mnt/cdm

            `cdmfs help FILE` says what a file of a mount is, as in `cdmfs help buffers/a/migrate`; `cdmfs help --all` lists them all. \
            `cdmfs --generate-completion-script SHELL` prints what completes commands in bash, zsh or fish.

            Exit status: 0, or 64 for wrong usage, 65 for a wrong topology file, 66 for one that cannot be read, 32 for a \
            mount or unmount that failed, 1 otherwise; of run, that of its command.
            """,
        version: "0.1.0",
        subcommands: [
            Mount.self, Unmount.self, TopologyCommand.self, Run.self, RunInside.self, MetricsCommand.self,
            NumaMaps.self, Help.self,
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
