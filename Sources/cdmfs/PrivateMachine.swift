import ArgumentParser
import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// A machine for one command, mounted in the command's namespace and nowhere else.
///
/// Three processes: this one, which waits; the daemon, outside of the namespace; and the command, which first makes the
/// namespace and the mount and hands the mount over to the daemon (``RunInside``).
struct PrivateMachine {
    private let source: MachineSource

    init(_ source: MachineSource) { self.source = source }

    /// Runs the command and ends as it ends.
    ///
    /// - Parameter memory: whether anonymous memory of the command is to be the machine's, too.
    func run(_ words: [String], memory: Bool) throws(Failure) -> Never {
        let directory = try makeDirectory()
        let (daemon, command): (pid_t, SupervisedCommand)
        do {
            let (ours, theirs) = try socketPair()
            daemon = try Daemon.spawn(
                [
                    "cdmfs", "mount", "--foreground", "--adopt", "--ready-fd", "\(Daemon.readyFD)", source.argument,
                    "--",
                    directory,
                ], theirs)
            try theirs.close()
            command = try SupervisedCommand(
                "run-inside",
                ["--socket", "\(ours.rawValue)", "--at", directory] + (memory ? [] : ["--no-memory"]) + ["--"] + words,
                inheriting: ours)
            try ours.close()
        } catch {
            _ = unsafe rmdir(directory)
            throw Failure(.failure, "run: \(error)")
        }
        let ending = command.wait()
        waitForEnd(of: daemon, besides: command)
        // The daemon does so itself unless it was killed.
        _ = unsafe rmdir(directory)
        ending.imitate()
    }

    private func makeDirectory() throws(Failure) -> String {
        var template = Array("/tmp/cdmfs-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { throw Failure(.failure, "run: /tmp: \(Errno.last)") }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private func socketPair() throws -> (FileDescriptor, FileDescriptor) {
        var ends: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard unsafe socketpair(AF_UNIX, type, 0, &ends) == 0 else { throw Errno.last }
        return (FileDescriptor(rawValue: ends[0]), FileDescriptor(rawValue: ends[1]))
    }

    /// Waits until the machine is gone, unless a process that the command has left behind keeps it.
    private func waitForEnd(of daemon: pid_t, besides command: SupervisedCommand) {
        for _ in 0..<250 {
            var status: Int32 = 0
            if unsafe waitpid(daemon, &status, WNOHANG) != 0 { return }
            if command.hasLeftProcesses { return }
            usleep(4_000)
        }
    }
}

/// `cdmfs run-inside`: the part of `cdmfs run` that becomes the command.
struct RunInside: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a mount in a namespace of its own and run a command there.", shouldDisplay: false)

    @Option(help: .hidden)
    var start: Int32

    @Option(help: .hidden)
    var socket: Int32

    @Option(help: .hidden)
    var at: String

    @Flag(help: .hidden)
    var noMemory = false

    @Argument(parsing: .captureForPassthrough)
    var command: [String]

    func run() throws {
        // Nothing outlives `cdmfs run` that was to end with it.
        _ = clinux_signal_with_parent(SIGKILL)
        let keeper = ProgramKeeper(memory: !noMemory)
        let daemon = FileDescriptor(rawValue: socket)
        for descriptor in [start, socket] { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        try MachineView.enterNamespace()
        let mount = try MadeMount(at: at)
        // A daemon that takes no mount has said why.
        try? mount.send(over: daemon)
        guard try Daemon.isReady(at: daemon) else {
            throw Failure(.mount, "run: the daemon ended before the file system answered")
        }
        let view = try MachineView(of: at)
        try view.cover()
        try view.execute(command.first == "--" ? Array(command.dropFirst()) : command, keeper)
    }
}
