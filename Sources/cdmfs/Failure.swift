import CoherentMemory
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// Why the command fails: one line for stderr, and the exit status.
struct Failure: Error {
    /// The exit statuses, by the words of sysexits.h and mount(8).
    enum Status: Int32 {
        /// Anything without a status of its own.
        case failure = 1
        /// A mount or unmount that failed.
        case mount = 32
        /// Wrong usage: EX_USAGE.
        case usage = 64
        /// A wrong topology file: EX_DATAERR.
        case data = 65
        /// A file that cannot be read: EX_NOINPUT.
        case noInput = 66
        /// `run`: the command cannot be executed.
        case notExecutable = 126
        /// `run`: the command was not found.
        case notFound = 127
    }

    let status: Status
    let message: String

    init(_ status: Status, _ message: String) {
        self.status = status
        self.message = message.split(whereSeparator: \.isNewline).joined(separator: " ").printable
    }

    init(_ error: TopologyError) {
        self.init(Status(rawValue: error.exitStatus) ?? .failure, error.description)
    }

    /// What the parser found wrong with the words after `cdmfs`.
    init(usage message: String, _ words: [String]) {
        let command = words.first.flatMap { Cdmfs.command(named: $0) == nil ? nil : $0 }
        let message = message.last == "." ? String(message.dropLast()) : message
        self.init(
            .usage,
            (command.map { "\($0): " } ?? "") + message + "; see cdmfs help" + (command.map { " \($0)" } ?? ""))
    }

    /// Says why, on stderr, and ends the process.
    func end() -> Never {
        complain(message)
        Glibc.exit(status.rawValue)
    }
}

/// Writes one line to stderr.
func complain(_ message: String) {
    _ = try? FileDescriptor.standardError.writeAll("cdmfs: \(message)\n".utf8)
}
