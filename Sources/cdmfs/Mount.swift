import ArgumentParser
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// `cdmfs mount`
struct Mount: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Mount a simulated machine.",
        usage: """
            cdmfs mount [--topology <file> | --preset <name>] [-o <options> ...]
                [--foreground] [--source <name>] [--log <file>] <mountpoint>
            """,
        discussion: """
            Returns after the file system answers. A daemon serves it until it is unmounted, or until the daemon gets SIGTERM \
            or SIGINT. If the mount fails, one line says why, and nothing is left behind.

            A mount over a mount of the same source is refused, so that one line of /etc/fstab mounts one machine.

            Options after -o, separated by commas:
            \(MountWord.lines.joined(separator: "\n"))
              ro, noexec, noatime, sync, …

            A limit of 0 means no limit. The share of one user is at least 1. It does not apply to processes with \
            CAP_SYS_RESOURCE and to the user who mounts. A mount by an ordinary user runs without seccomp. Generic mount(8) \
            options are accepted and ignored.

            Exit status: 0 on success, 32 if the mount fails, 64 for wrong usage, 65 for an invalid topology file, 66 for \
            a topology file that cannot be read.
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
        help: ArgumentHelp("The machine: the name of a preset.", valueName: "name"), completion: .presets)
    var preset: String?

    @Option(help: .hidden)
    var readyFD: Int32?

    @Flag(help: .hidden)
    var adopt = false

    @Option(help: .hidden)
    var withParent: Int32?

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
            options: options, log: log, readyFD: readyFD, isAdopting: adopt, parent: withParent
        ).run()
    }

    /// What a mount by an ordinary user lacks.
    private static let limits = """
        mount: not root: buffers cannot be mapped direct (needs CAP_SYS_ADMIN), and mapped stores are slow (needs write access \
        to the mount's /sys/class/bdi/*/strict_limit); mount as root or from /etc/fstab to have both
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
