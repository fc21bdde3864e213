import ArgumentParser
import CoherentMemory
import Glibc
import SystemPackage
import TraceFormat

/// `cdmfs report`
struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show a recorded trace.",
        discussion: """
            text has tables: events, placements, moves, refusals, failures, commands, and the buffers with the most events. csv has a \
            row for each event. perfetto is the JSON of Chrome traces, which ui.perfetto.dev opens: a track for each thread, for \
            the moves of each buffer and for each device, and the used memory of each node.

            A trace that was cut off is shown as far as it goes, with a line on stderr.

            Exit status: 0 on success, 64 for wrong usage, 65 for a file that is no trace, 66 for one that cannot be read.
            """)

    /// The forms of a report.
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text
        case csv
        case perfetto
    }

    @Argument(help: "The recorded file.", completion: .file())
    var file: String

    @Option(
        name: [.customShort("o"), .long],
        help: ArgumentHelp("Write to a file instead of standard output.", valueName: "file"), completion: .file())
    var output: String?

    @Option(help: "The form of the report.")
    var format = Format.text

    func run() throws {
        let source: FileDescriptor
        do {
            source = try FileDescriptor.open(FilePath(file), .readOnly, options: .closeOnExec)
        } catch {
            throw Failure(.noInput, "report: \(file): \(error)")
        }
        defer { try? source.close() }
        do {
            var reader = try TraceFileReader(source)
            let target = try open()
            var written = ReportOutput(target)
            switch format {
            case .text:
                var summary = TraceSummary()
                try reader.forEachPart { summary.add($0) }
                written.write(summary.text)
            case .csv:
                var table = TraceTable()
                written.write(table.header)
                try reader.forEachPart { part in table.add(part, to: &written) }
            case .perfetto:
                var trace = PerfettoTrace()
                written.write(trace.start)
                try reader.forEachPart { part in trace.add(part, to: &written) }
                written.write(trace.end)
            }
            written.flush()
            if let error = written.error, error != .brokenPipe {
                throw Failure(.failure, "report: \(output ?? "standard output"): \(error)")
            }
            if reader.isCutOff { complain("report: \(file): the trace is cut off; this is what was recorded before") }
        } catch let error as TraceFileError {
            throw Failure(error.status, "report: \(file): \(error)")
        }
    }

    private func open() throws -> FileDescriptor {
        guard let output else { return .standardOutput }
        do {
            return try FileDescriptor.open(
                FilePath(output), .writeOnly, options: [.create, .truncate, .closeOnExec],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
        } catch {
            throw Failure(.failure, "report: \(output): \(error)")
        }
    }
}

extension TraceFileError {
    /// The exit status of a command that meets it.
    var status: Failure.Status {
        switch self {
        case .notTrace, .version, .malformed: .data
        case .system: .failure
        }
    }
}

/// Text on its way to a file.
struct ReportOutput {
    private let file: FileDescriptor
    private var bytes: [UInt8] = []
    /// The first error of a write; nothing is written after it.
    private(set) var error: Errno?

    init(_ file: FileDescriptor) {
        self.file = file
        // A reader that has seen enough is no reason to die.
        signal(SIGPIPE, SIG_IGN)
    }

    mutating func write(_ text: String) {
        bytes += text.utf8
        if bytes.count >= 1 << 16 { flush() }
    }

    mutating func flush() {
        defer { bytes.removeAll(keepingCapacity: true) }
        guard error == nil else { return }
        do {
            try file.writeAll(bytes)
        } catch {
            self.error = (error as? Errno) ?? .ioError
        }
    }
}

/// The names that a trace has told so far.
struct RecordedNames: TraceNames {
    private var names: [UInt64: String] = [:]
    private var devices: [Int: String] = [:]

    mutating func add(_ record: TraceRecord) {
        if case .name(let buffer, let text) = record { names[buffer] = text }
    }

    mutating func buffer(_ id: UInt64) -> String { names[id] ?? "#\(id)" }
    mutating func device(ofNode node: Int) -> String { "node\(node)" }
    mutating func task(_ pid: Int32) -> Int32 { pid }
}
