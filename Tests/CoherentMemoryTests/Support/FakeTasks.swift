import LinuxSupport

@testable import CoherentMemory

/// Tasks that a test makes up: processes, their threads, and who holds which device open.
final class FakeTasks: TaskDirectory {
    private struct State {
        var tasks: [Int32: TaskDescription] = [:]
        var holders: [String: Set<Int32>] = [:]
        var now: UInt64 = 100
        var newest: Int32?
    }

    private let state = Mutex(State())

    /// Lets the clock go on, so that what comes next is later.
    @discardableResult
    func tick() -> UInt64 {
        state.withLock { state in
            state.now += 1
            return state.now
        }
    }

    /// A process that begins a tick after whatever was before (fork(2)).
    func fork(_ id: Int32, from parent: Int32 = 1) {
        let now = tick()
        state.withLock { $0.tasks[id] = TaskDescription(process: id, parent: parent, startTime: now) }
        tick()
    }

    /// A further thread of a process (clone(2) with CLONE_THREAD).
    func thread(_ id: Int32, of process: Int32) {
        let now = tick()
        state.withLock { state in
            let parent = state.tasks[process]!.parent
            state.tasks[id] = TaskDescription(process: process, parent: parent, startTime: now)
        }
        tick()
    }

    /// A thread or a process that begins in the same tick as what was before and what comes then. Its number is the next.
    func makeAtOnce(_ id: Int32, process: Int32? = nil, parent: Int32) {
        state.withLock { state in
            state.newest = id
            state.tasks[id] = TaskDescription(process: process ?? id, parent: parent, startTime: state.now)
        }
    }

    /// Ends a task; its children go to process 1.
    func exit(_ id: Int32) {
        tick()
        state.withLock { state in
            state.tasks[id] = nil
            for (child, task) in state.tasks where task.parent == id { state.tasks[child]?.parent = 1 }
        }
    }

    func open(_ device: String, by process: Int32) {
        state.withLock { _ = $0.holders[device, default: []].insert(process) }
    }

    func close(_ device: String, by process: Int32) {
        state.withLock { _ = $0.holders[device]?.remove(process) }
    }

    // MARK: TaskDirectory

    func task(_ id: Int32) -> TaskDescription? { state.withLock { $0.tasks[id] } }

    var now: UInt64 { state.withLock { $0.now } }

    var processes: [Int32] { state.withLock { $0.tasks.filter { $0.key == $0.value.process }.keys.sorted() } }

    var newest: Int32? { state.withLock { $0.newest } }

    func holdsDeviceOpen(of node: Node, process: Int32) -> Bool {
        state.withLock { $0.holders[node.deviceName ?? ""]?.contains(process) ?? false }
    }
}
