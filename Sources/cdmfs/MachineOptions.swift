import ArgumentParser

/// The machine of a command that runs another one: one that is mounted, or one to make.
struct MachineOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("The mount point of the machine.", valueName: "mountpoint"), completion: .mountPoints)
    var mount: String?

    @Option(
        help: ArgumentHelp("Make the machine of a TOML file.", valueName: "file"),
        completion: .file(extensions: ["toml"]))
    var topology: String?

    @Option(
        help: ArgumentHelp("Make the machine of a preset.", valueName: "name"), completion: .presets)
    var preset: String?

    /// What to make the machine of; nil where none was given.
    ///
    /// - Parameter command: the name of the command, for messages.
    func source(for command: String) throws(Failure) -> MachineSource? {
        guard [mount, topology, preset].count(where: { $0 != nil }) <= 1 else {
            throw Failure(.usage, "\(command): --mount, --topology and --preset exclude each other")
        }
        return topology.map(MachineSource.file) ?? preset.map(MachineSource.preset)
    }
}

extension ParsableCommand {
    /// The words of the command to run, without the `--` before them. The parser leaves every option that it does not know to them.
    func commandWords(_ words: [String], of command: String) throws -> [String] {
        guard let first = words.first, first != "--" else { return Array(words.dropFirst()) }
        if ["--help", "-h"].contains(first) { throw CleanExit.helpRequest(self) }
        guard !first.hasPrefix("-") else {
            throw Failure(.usage, "\(command): unknown option \(first); see cdmfs help \(command)")
        }
        return words
    }
}
