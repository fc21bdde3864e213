import CoherentMemory
import Synchronization

/// The tasks of a trace: every number is one, a process of its own, that may use a restricted node as far as the trace shows.
final class RecordedTasks: TaskDirectory {
    private struct Access: Hashable {
        var task: Int32
        var node: Int
    }

    private let allowed = Mutex<Set<Access>>([])

    /// Notes that a task may use a node, or may not.
    func set(_ isAllowed: Bool, task: Int32, node: Int) {
        guard task > 0 else { return }
        allowed.withLock { allowed in
            let access = Access(task: task, node: node)
            if isAllowed { allowed.insert(access) } else { allowed.remove(access) }
        }
    }

    func task(_ id: Int32) -> TaskDescription? {
        id > 0 ? TaskDescription(process: id, parent: 0, startTime: 0) : nil
    }

    var now: UInt64 { 0 }
    var processes: [Int32] { [] }

    func holdsDeviceOpen(of node: Node, process: Int32) -> Bool {
        allowed.withLock { $0.contains(Access(task: process, node: node.id)) }
    }
}
