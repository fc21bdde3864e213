import ArgumentParser
import CLinux
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// `cdmfs record`
struct Record: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Record what happens to the memory of a machine.",
        usage: """
            cdmfs record [-o <file>] [--mount <mountpoint> | --topology <file>
                | --preset <name>] [--interval <seconds>]
                [--] [<command> [<argument> ...]]
            """,
        discussion: """
            Records every trace event (sys/kernel/cdm/trace) and, at intervals, the counters (sys/kernel/cdm/metrics), until the \
            command ends, or until SIGINT (Ctrl-C) or SIGTERM if there is none. The command runs as under `cdmfs run`. \
            `cdmfs report` shows the file. The clock, filter and buffer_size_kb are those of the trace when the record begins; \
            `enable` and other readers of the trace are not affected.

            With --topology or --preset a machine is made for the record, and unmounted at its end.

            The file is readable up to its end whenever the recorder is killed, or the machine ends; a machine made for the record \
            ends with the recorder. `cdmfs replay` replays it. Its format is documented with the module TraceFormat.

            The exit status is the command's, or 0 if there is none; 32 if the machine ends meanwhile.
            """)

    @Option(
        name: [.customShort("o"), .long],
        help: ArgumentHelp("The file to write; an old one is replaced.", valueName: "file"), completion: .file())
    var output = "cdmfs.trace"

    @OptionGroup
    var machine: MachineOptions

    @Option(
        help: ArgumentHelp(
            "Seconds from one sample of the counters to the next, from 0.1 to 3600.", valueName: "seconds"))
    var interval = 1.0

    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
    var command: [String] = []

    func run() throws {
        let words = try commandWords(command, of: "record")
        let source = try machine.source(for: "record")
        guard (0.1...3600).contains(interval) else {
            throw Failure(.usage, "record: --interval \(interval): expected 0.1 to 3600 seconds")
        }
        let ending: SupervisedCommand.Ending?
        if let source {
            // What is wrong with the topology is told before anything is made.
            _ = try source.topology()
            ending = try TemporaryMachine.with(source) { path in try record(path, words) }
        } else {
            ending = try record(try machine.mount ?? onlyMount(for: "record"), words)
        }
        ending?.imitate()
    }

    private func record(_ path: String, _ words: [String]) throws -> SupervisedCommand.Ending? {
        var recorder = try Recorder(FilePath(path), to: output, interval: interval, command: words)
        return try recorder.run()
    }
}

/// A machine that is mounted on a directory of its own for as long as something is done with it, and ends with this process,
/// however that ends.
enum TemporaryMachine {
    static func with<Result>(_ source: MachineSource, _ body: (String) throws -> Result) throws -> Result {
        var template = Array("/tmp/cdmfs-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { throw Failure(.mount, "mount: /tmp: \(Errno.last)") }
        let path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        defer { _ = unsafe rmdir(path) }
        try Daemon.start([
            "cdmfs", "mount", "--foreground", "--with-parent", "\(getpid())", "--ready-fd", "\(Daemon.readyFD)",
            source.argument, "--", path,
        ])
        defer { unmount(path) }
        return try body(path)
    }

    private static func unmount(_ path: String) {
        var pid: pid_t = 0
        let status = unsafe withArgumentVector(["cdmfs", "unmount", "--lazy", "--", path]) {
            unsafe posix_spawn(&pid, "/proc/self/exe", nil, nil, $0, Glibc.environ)
        }
        if status == 0 { _ = try? SystemCall.waitForEnd(of: pid) }
    }
}
