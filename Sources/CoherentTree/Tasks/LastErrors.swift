import AttributeTree
import CoherentMemory
import DequeModule
import LinuxSupport
import SystemPackage

/// Why the last refused write of each process was refused: sys/kernel/cdm/last_error.
///
/// A process sees its own line only. It is found by number and start time, so that a process whose number is used again
/// leaves nothing to the next one. Lines are short, a user has few of them, and few users have any, for there is no word of
/// a process's end: those of processes that have ended are dropped when there are new ones.
package final class LastErrors: Sendable {
    /// The most lines that are kept for the processes of one user.
    package static let limitPerUser = 64
    /// The most users whose lines are kept.
    static let userLimit = 256

    private struct Line {
        var process: TaskIdentity
        var text: String
    }

    private struct State {
        /// The lines of each user's processes, the oldest first.
        var lines: [UInt32: Deque<Line>] = [:]
        /// The users, the one who had a line least recently first.
        var users: Deque<UInt32> = []
    }

    private let state = Mutex(State())

    package init() {}

    static let attribute = Attribute<TreeServices>.readOnly(
        "last_error", summary: "Why the last refused write of the reading process to a control was refused.",
        showForClient: { services, client in
            guard let process = services.processes.process(of: client.task) else { return "" }
            return services.lastErrors.text(of: process)
        }
    ).verbatim()

    /// Keeps the line of a process in place of an earlier one.
    ///
    /// - Parameter isAlive: whether a process is still there; asked about some of the user's others.
    package func note(
        _ text: String, of process: TaskIdentity, user: UInt32, isAlive: (TaskIdentity) -> Bool
    ) {
        // Not asked under the lock, for that reads /proc.
        let oldest = state.withLock { $0.lines[user].map { lines in lines.prefix(2).map(\.process) } ?? [] }
        let isFull = state.withLock { $0.lines[user]?.count ?? 0 >= Self.limitPerUser }
        let asked = isFull ? state.withLock { $0.lines[user]?.map(\.process) ?? [] } : oldest
        let ended = Set(asked.filter { !isAlive($0) })
        state.withLock { state in
            var lines = state.lines[user] ?? []
            lines.removeAll { $0.process.id == process.id || ended.contains($0.process) }
            if lines.count >= Self.limitPerUser { lines.removeFirst() }
            lines.append(Line(process: process, text: text))
            state.lines[user] = lines
            state.users.removeAll { $0 == user }
            state.users.append(user)
            if state.users.count > Self.userLimit, let first = state.users.popFirst() { state.lines[first] = nil }
        }
    }

    /// The line of a process with a newline; empty for none.
    package func text(of process: TaskIdentity) -> String {
        state.withLock { state in
            for lines in state.lines.values {
                if let line = lines.last(where: { $0.process == process }) { return line.text + "\n" }
            }
            return ""
        }
    }

    /// The number of lines.
    package var count: Int { state.withLock { $0.lines.values.reduce(0) { $0 + $1.count } } }
}

extension ProcTasks {
    /// The process of a thread; nil if there is none.
    package func process(of thread: Int32) -> TaskIdentity? {
        guard let task = task(thread) else { return nil }
        return task.process == thread ? TaskIdentity(id: thread, startTime: task.startTime) : identity(of: task.process)
    }
}
