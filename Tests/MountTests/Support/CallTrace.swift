import Foundation
import SystemPackage

/// The system calls that daemons make once they serve, for the run of all suites that `mount-scripts/trace-calls` does: where
/// CDMFS_TRACE_CALLS names a directory, each daemon leaves a table of `strace -c` there.
enum CallTrace {
    private static let folder = ProcessInfo.processInfo.environment["CDMFS_TRACE_CALLS"]

    /// Begins to trace a daemon, every thread of it, until it ends.
    static func begin(of daemon: pid_t) throws {
        guard let folder else { return }
        let table = "\(folder)/\(daemon).\(UUID().uuidString)"
        // In the background, and with nothing of this process that it would hold open.
        let strace = "strace -f -qq -c -U name -o '\(table)' -p \(daemon) </dev/null >/dev/null 2>&1 &"
        _ = try run(["setsid", "sh", "-c", strace])
        let isTraced = try eventually {
            try procfs("\(daemon)/status").split(separator: "\n").contains {
                $0.hasPrefix("TracerPid:") && !$0.hasSuffix("\t0")
            }
        }
        guard isTraced else { throw Failure("the daemon cannot be traced") }
    }

    /// The calls that the last run of `mount-scripts/trace-calls` wrote down; nil where there is no record for this architecture.
    static var record: Set<String>? {
        #if arch(x86_64)
            let file = Host.package.appending("Tests/calls.x86_64").string
        #else
            let file = Host.package.appending("Tests/calls.aarch64").string
        #endif
        return (try? String(contentsOfFile: file, encoding: .utf8)).map(calls)
    }

    /// The calls of a table of `strace -c -U name`.
    static func calls(in table: String) -> Set<String> {
        let words = table.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
        return Set(words.filter { $0.allSatisfy { $0.isLowercase || $0.isNumber || $0 == "_" } })
            .subtracting(["syscall", "total", "calls", ""])
    }
}
