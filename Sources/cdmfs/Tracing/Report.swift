import ArgumentParser
import Glibc
import LinuxSupport
import SystemPackage
import TraceFormat
import TraceReport

/// `cdmfs report`
struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show a recorded trace.",
        usage: """
            cdmfs report [-o <file>] [--format <format>] [--table <table>]
                <file>
            """,
        discussion: """
            html is one page with pictures and tables, which needs nothing beside itself: placement over time, the pages of the largest \
            buffers by offset and time, flow between nodes, ping-pong, precision of promotion, refusals, loss and recovery. text has \
            the same tables. csv has a row for each event, or with --table one of the tables. perfetto is the JSON of Chrome traces, \
            which ui.perfetto.dev opens: a track for each thread, for the moves of each buffer and for each device, and the used \
            memory of each node.

              cdmfs report cdmfs.trace -o report.html
              cdmfs report cdmfs.trace --format csv --table moves

            A trace that was cut off is shown as far as it goes, with a line on stderr and on the page.

            Exit status: 0 on success, 64 for wrong usage, 65 for a file that is no trace, 66 for one that cannot be read.
            """)

    /// The forms of a report.
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case html
        case text
        case csv
        case perfetto
    }

    /// A table of a report, by its name.
    struct TableName: ExpressibleByArgument {
        let text: String

        init?(argument: String) {
            guard Self.allValueStrings.contains(argument) else { return nil }
            text = argument
        }

        static var allValueStrings: [String] { TraceAnalysis.tableNames }
    }

    @Argument(help: "The recorded file.", completion: .file())
    var file: String

    @Option(
        name: [.customShort("o"), .long],
        help: ArgumentHelp("Write to a file instead of standard output.", valueName: "file"), completion: .file())
    var output: String?

    @Option(help: "The form of the report.")
    var format = Format.html

    @Option(help: ArgumentHelp("The table of a report as csv, in place of all events.", valueName: "table"))
    var table: TableName?

    func run() throws {
        if table != nil, format != .csv {
            throw Failure(.usage, "report: --table: expected with --format csv")
        }
        if format == .html, output == nil, isatty(STDOUT_FILENO) == 1 {
            throw Failure(.usage, "report: a page is not for a terminal: expected -o FILE or --format text")
        }
        if let output, let target = try? FileIdentity(cached: output), target == (try? FileIdentity(cached: file)) {
            throw Failure(.usage, "report: -o \(output): expected another file than the trace")
        }
        let source: FileDescriptor
        do {
            source = try FileDescriptor.open(FilePath(file), .readOnly, options: .closeOnExec)
        } catch {
            throw Failure(.noInput, "report: \(file): \(error)")
        }
        defer { try? source.close() }
        do {
            var reader = try TraceFileReader(source)
            var written = ReportOutput(try open())
            try write(&reader, to: &written)
            written.flush()
            if let error = written.error, error != .brokenPipe {
                throw Failure(.failure, "report: \(output ?? "standard output"): \(error)")
            }
            if reader.isCutOff { complain("report: \(file): the trace is cut off; this is what was recorded before") }
        } catch let error as TraceFileError {
            throw Failure(error.status, "report: \(file): \(error)")
        }
    }

    private func write(_ reader: inout TraceFileReader, to written: inout ReportOutput) throws(TraceFileError) {
        switch format {
        case .html:
            let analysis = try analysis(of: &reader)
            written.write(ReportPage(analysis, name: FilePath(file).lastComponent?.string ?? file).html)
        case .text: written.write(try analysis(of: &reader).text)
        case .csv:
            if let table {
                written.write(try analysis(of: &reader).commaSeparated(table: table.text))
                return
            }
            var table = EventTable()
            written.write(table.header)
            try reader.forEachPart { written.write(table.row(of: $0)) }
        case .perfetto:
            var trace = PerfettoTrace()
            written.write(trace.start)
            try reader.forEachPart { trace.add($0, to: &written) }
            written.write(trace.end)
        }
    }

    private func analysis(of reader: inout TraceFileReader) throws(TraceFileError) -> TraceAnalysis {
        var analysis = TraceAnalysis()
        try reader.forEachPart { analysis.add($0) }
        analysis.finish()
        analysis.isCutOff = reader.isCutOff
        return analysis
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
struct ReportOutput: TextOutputStream {
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
