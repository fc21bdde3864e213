import ArgumentParser
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// `cdmfs mount`
struct Mount: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Mount a simulated machine.",
        discussion: """
            Returns once the file system answers; a daemon then serves it until it is unmounted or gets SIGTERM or SIGINT. \
            A mount that cannot come up says why in one line and leaves nothing behind.

            A mount over one of the same source is refused: the same line of /etc/fstab mounts one machine.

            Options after -o, separated by commas:
            \(MountWord.lines.joined(separator: "\n"))
              ro, noexec, noatime, sync, …

            A limit of 0 is none; nobody's share is less than 1, and who has CAP_SYS_RESOURCE, or mounts for himself, has \
            all. A mount by a user has no seccomp. Words for mount(8) and /etc/fstab are ignored.
            """)

    @Option(
        help: ArgumentHelp("The machine: a TOML file (default: the preset \"default\").", valueName: "file"),
        completion: .file(extensions: ["toml"]))
    var topology: String?

    @Flag(name: .shortAndLong, help: "Stay in the foreground and log to stderr.")
    var foreground = false

    @Option(
        name: .customShort("o"),
        help: ArgumentHelp("Mount options, separated by commas.", valueName: "options"),
        completion: .custom { _, _, typed in MountWord.completions(of: typed) })
    var options: [String] = []

    @Option(help: ArgumentHelp("What mount(8) shows as the source (default: cdmfs).", valueName: "name"))
    var source: String?

    @Option(
        help: ArgumentHelp("Append the log to a file, in place of syslog or stderr.", valueName: "file"),
        completion: .file())
    var log: String?

    @Option(
        help: ArgumentHelp("The machine, by the name of a preset.", valueName: "name"), completion: .presets)
    var preset: String?

    @Option(help: .hidden)
    var readyFD: Int32?

    @Flag(help: .hidden)
    var adopt = false

    @Argument(help: "An existing directory.", completion: .directory)
    var mountpoint: String

    func run() throws {
        var options = try MountWords(options)
        if let source {
            guard !source.isEmpty, options.source ?? source == source else {
                throw Failure(.usage, "mount: --source \"\(source)\"; expected one name, here or in -o fsname=")
            }
            options.source = source
        }
        guard topology == nil || options.topology == nil || topology == options.topology else {
            throw Failure(.usage, "mount: two topologies, --topology and -o topology=; expected one")
        }
        if options.isRemount { return try Remount(mountpoint, options.kernel).run() }
        let file = topology ?? options.topology
        guard preset == nil || file == nil else {
            throw Failure(.usage, "mount: a topology and a preset; expected one")
        }
        guard foreground else {
            try Daemon.start(arguments)
            if geteuid() != 0 { complain(Self.limits) }
            return
        }
        try Serving(
            mountPoint: mountpoint,
            machine: preset.map(MachineSource.preset) ?? file.map(MachineSource.file) ?? .default,
            options: options, log: log, readyFD: readyFD, isAdopting: adopt
        ).run()
    }

    /// What a mount by a user has not.
    private static let limits = """
        mount: not root, so buffers cannot be mapped direct (that takes CAP_SYS_ADMIN) and mapped stores are slow (root alone \
        may write the mount's /sys/class/bdi/*/strict_limit); a mount by root or from /etc/fstab has both
        """

    /// The arguments for the daemon, which is this command once more in the foreground.
    private var arguments: [String] {
        var arguments = ["cdmfs", "mount", "--foreground", "--ready-fd", "\(Daemon.readyFD)"]
        if let topology { arguments.append("--topology=\(topology)") }
        if let source { arguments.append("--source=\(source)") }
        if let preset { arguments.append("--preset=\(preset)") }
        if let log { arguments.append("--log=\(log)") }
        for option in options { arguments += ["-o", option] }
        return arguments + ["--", mountpoint]
    }
}
