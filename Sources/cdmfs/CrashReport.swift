import CLinux
import Glibc
import SystemPackage

/// A last line of the log where a fault of the daemon's own ends it.
///
/// Swift's own report takes a process that the filter of calls does not let the daemon start, and a stderr that a daemon has not; and
/// there is no core dump.
enum CrashReport {
    /// The lines, by the numbers of their signals: nothing is allocated when one is needed.
    nonisolated(unsafe) private static var lines: [UnsafeMutablePointer<CChar>?] = unsafe []
    /// The file that they go to; -1 for syslog.
    nonisolated(unsafe) private static var file: Int32 = -1

    private static let signals: KeyValuePairs<Int32, String> = [
        SIGILL: "SIGILL", SIGTRAP: "SIGTRAP", SIGABRT: "SIGABRT", SIGBUS: "SIGBUS", SIGFPE: "SIGFPE",
        SIGSEGV: "SIGSEGV",
    ]

    /// Has the faults of the process reported from now on. They end it all the same.
    static func begin(_ output: LogOutput) {
        unsafe lines = Array(repeating: nil, count: 32)
        if case .file(let log) = output { unsafe file = log.rawValue }
        for (signal, name) in signals {
            let text = "cdmfs[\(getpid())]"
            // As syslog(3) sends it: the number is that of LOG_DAEMON | LOG_CRIT.
            let line =
                unsafe file < 0
                ? "<26>\(text): \(name) ends the daemon, by a fault of its own"
                : "\(text) critical: \(name) ends the daemon, by a fault of its own\n"
            unsafe lines[Int(signal)] = strdup(line)
            var action = sigaction()
            unsafe action.__sigaction_handler.sa_handler = { CrashReport.end($0) }
            action.sa_flags = SA_ONSTACK
            unsafe sigaction(signal, &action, nil)
        }
    }

    private static func end(_ signal: Int32) {
        if let line = unsafe lines[Int(signal)] {
            if unsafe file < 0 {
                _ = unsafe clinux_send_datagram("/dev/log", line)
            } else {
                _ = unsafe write(file, line, strlen(line))
            }
        }
        // It comes once more when this returns.
        _ = Glibc.signal(signal, SIG_DFL)
        raise(signal)
    }
}
