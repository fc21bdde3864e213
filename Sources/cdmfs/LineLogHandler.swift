import Glibc
import LinuxSupport
import Logging
import SystemPackage

/// Where the daemon's log goes.
enum LogOutput {
    case file(FileDescriptor)
    case syslog
}

/// Writes each message as one line of printable characters, in one write(2).
struct LineLogHandler: LogHandler {
    var logLevel: Logger.Level = .info
    var metadata: Logger.Metadata = [:]
    private let output: LogOutput

    init(_ output: LogOutput) { self.output = output }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let pairs = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
        // Names of files and programs come from any user.
        let text = ([event.message.description] + pairs.map { "\($0)=\($1)" }).joined(separator: " ").printable
        switch output {
        case .file(let file):
            _ = try? file.writeAll("\(Self.now) cdmfs[\(getpid())] \(event.level): \(text)\n".utf8)
        case .syslog:
            unsafe withVaList([]) { arguments in
                // The text is the format: a percent sign in it must stand for itself.
                unsafe vsyslog(LOG_DAEMON | priority(event.level), text.replacing("%", with: "%%"), arguments)
            }
        }
    }

    private func priority(_ level: Logger.Level) -> Int32 {
        switch level {
        case .trace, .debug: LOG_DEBUG
        case .info: LOG_INFO
        case .notice: LOG_NOTICE
        case .warning: LOG_WARNING
        case .error: LOG_ERR
        case .critical: LOG_CRIT
        }
    }

    /// Local time, `2026-01-31T12:00:00+0100`.
    private static var now: String {
        var seconds = time(nil)
        var parts = unsafe tm()
        unsafe localtime_r(&seconds, &parts)
        var buffer = [UInt8](repeating: 0, count: 40)
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe strftime(
                bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count, "%Y-%m-%dT%H:%M:%S%z", &parts)
        }
        return String(decoding: buffer[..<count], as: UTF8.self)
    }
}
