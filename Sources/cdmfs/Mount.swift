import ArgumentParser
import CoherentMemory
import SystemPackage

/// `cdmfs mount`
struct Mount: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Mount a simulated machine.",
        discussion: """
            Returns once the file system answers; a daemon then serves it until it is unmounted or gets SIGTERM or SIGINT. \
            A mount that cannot come up says why in one line and leaves nothing behind.

            Options after -o, separated by commas:
              topology=FILE      as --topology
              fault_around=SIZE  how much a first touch populates (128K)
              huge=WORD          for new buffers: never, within_size, always, pool (never)
              mapping=WORD       of new buffers: tracked, or direct (tracked)
              numa_balancing=N   0 off, 1 pages follow tasks, 2 promotion, 3 both (0)
              transport=WORD     of requests: auto, classic, io_uring (auto)
              dev_mode=MODE      of the device files, octal (660)
              dev_gid=GID        their group, a number (that of whoever mounts)
              nr_inodes=N        most files and directories below buffers/ (one for every 8K of the host's memory)
              max_direct=N       most direct buffers (one for every 512K, at most 64K)
              max_pinned=SIZE    most bytes of pinned buffers (0)
              user_limit=PERCENT what one user may have of each of these (25)
              seccomp=WORD       off: the daemon may use any system call (on)
              oom_score_adj=N    how soon the kernel ends the daemon where memory is out: -1000 to 1000
              allow_other        other users get in, too
              ro, noexec, noatime, sync, …

            The SIZE of fault_around is a power of two from 4K to 1M. A limit of 0 is none; nobody's share is less than 1, \
            and who has CAP_SYS_RESOURCE, or mounts for himself, has all. A mount by a user has no seccomp. Words for mount(8) and /etc/fstab are ignored.
            """)

    @Option(help: ArgumentHelp("The machine: a TOML file (default: the preset \"default\").", valueName: "file"))
    var topology: String?

    @Flag(name: .shortAndLong, help: "Stay in the foreground and log to stderr.")
    var foreground = false

    @Option(
        name: .customShort("o"),
        help: ArgumentHelp("Mount options, separated by commas.", valueName: "options"))
    var options: [String] = []

    @Option(help: ArgumentHelp("Append the log to a file, in place of syslog or stderr.", valueName: "file"))
    var log: String?

    @Option(help: ArgumentHelp("The machine, by the name of a preset.", valueName: "name"))
    var preset: String?

    @Option(help: .hidden)
    var readyFD: Int32?

    @Flag(help: .hidden)
    var adopt = false

    @Argument(help: "An existing directory.")
    var mountpoint: String

    func run() throws {
        let options = try MountWords(options)
        guard topology == nil || options.topology == nil || topology == options.topology else {
            throw Failure(.usage, "mount: two topologies, --topology and -o topology=; expected one")
        }
        let file = topology ?? options.topology
        guard preset == nil || file == nil else {
            throw Failure(.usage, "mount: a topology and a preset; expected one")
        }
        guard foreground else { return try Daemon.start(arguments) }
        try Serving(
            mountPoint: mountpoint,
            machine: preset.map(MachineSource.preset) ?? file.map(MachineSource.file) ?? .default,
            options: options, log: log, readyFD: readyFD, isAdopting: adopt
        ).run()
    }

    /// The arguments for the daemon, which is this command once more in the foreground.
    private var arguments: [String] {
        var arguments = ["cdmfs", "mount", "--foreground", "--ready-fd", "\(Daemon.readyFD)"]
        if let topology { arguments.append("--topology=\(topology)") }
        if let preset { arguments.append("--preset=\(preset)") }
        if let log { arguments.append("--log=\(log)") }
        for option in options { arguments += ["-o", option] }
        return arguments + ["--", mountpoint]
    }
}
