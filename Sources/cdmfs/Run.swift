import ArgumentParser
import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// `cdmfs run`
struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a command that sees the simulated machine in place of the host's.",
        usage: """
            cdmfs run [--mount <mountpoint> | --topology <file> | --preset <name>]
                [--keep <directory>] [--no-memory] [--] <command> [<argument> ...]
            """,
        discussion: """
            The command runs in a mount namespace of its own. In it, files of the simulated machine replace the host's: the \
            PCI, DAX and CXL devices, nodes, memory blocks, tiers, interleave weights, huge page pools and control groups of /sys, \
            meminfo, vmstat, zoneinfo, buddyinfo and pagetypeinfo of /proc, and Mems_allowed, numa_maps and the control group of its processes. The \
            host does not change, and other machines are not mounted there. The variable CDMFS_MOUNTPOINT has the mount point of the machine.

            The system calls mbind, set_mempolicy, get_mempolicy, move_pages, migrate_pages and set_mempolicy_home_node of the \
            command act on the buffers that it maps and on its anonymous memory (heap, stacks, private mappings without a file). \
            Anonymous memory gets frames of the machine at its first store, under the policy, cpuset and isolation of that moment. A \
            touch for which the nodes of its policy have no frame kills the process, as in Linux; one that isolation refuses is \
            SIGBUS. This needs x86-64, Linux 6.6 and a daemon that runs as root; elsewhere one line on stderr says so, and anonymous \
            memory is the host's. Memory of programs of other users than root is the host's, too, where \
            vm.unprivileged_userfaultfd of the host is 0. CPU affinity is that of the machine if its CPUs differ from the host's.

            Without --mount a machine is made for the command: the one of --topology or --preset, or the default one. It is \
            mounted in the namespace of the command only, and ends with the last process of the command. With --keep it is \
            mounted on a directory, and stays until it is unmounted.

            The exit status is the command's, 127 if it was not found and 126 if it cannot be executed; a signal that ends the \
            command ends this process, too.
            """)

    @OptionGroup
    var machine: MachineOptions

    @Option(
        help: ArgumentHelp("Mount the new machine on a directory, and leave it there.", valueName: "directory"),
        completion: .directory)
    var keep: String?

    @Flag(
        help: """
            Leave anonymous memory of the command to the host: it has the view, and calls on buffers.
            """)
    var noMemory = false

    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
    var command: [String]

    func run() throws {
        let words = try commandWords(command, of: "run")
        guard !words.isEmpty else { throw Failure(.usage, "run: no command; see cdmfs help run") }
        let source = try machine.source(for: "run") ?? .default
        guard machine.mount == nil || keep == nil else {
            throw Failure(.usage, "run: --mount and --keep exclude each other")
        }
        if let mount = machine.mount {
            let keeper = ProgramKeeper(memory: !noMemory)
            try MachineView(of: mount).enter().execute(words, keeper)
        } else if let keep {
            try makeDirectory(keep)
            try Daemon.start([
                "cdmfs", "mount", "--foreground", "--ready-fd", "\(Daemon.readyFD)", source.argument, "--", keep,
            ])
            let keeper = ProgramKeeper(memory: !noMemory)
            try MachineView(of: keep).enter().execute(words, keeper)
        } else {
            try PrivateMachine(source).run(words, memory: !noMemory)
        }
    }

    private func makeDirectory(_ path: String) throws(Failure) {
        guard unsafe mkdir(path, 0o755) == 0 || Glibc.errno == EEXIST else {
            throw Failure(.mount, "run: \(path): \(Errno.last)")
        }
    }
}
