/// A task, distinguished from a later one with the same number.
public struct TaskIdentity: Sendable, Hashable {
    /// The number.
    public var id: Int32
    /// Its start time, as in ``TaskDescription/startTime``.
    public var startTime: UInt64

    /// The task with a number and a start time.
    public init(id: Int32, startTime: UInt64) {
        self.id = id
        self.startTime = startTime
    }
}

/// The properties of a task of the host that the machine uses (struct task_struct).
public struct TaskDescription: Sendable, Hashable {
    /// The process of the thread (tgid); its own number for a process.
    public var process: Int32
    /// The process that made it, or that adopted it since.
    public var parent: Int32
    /// The process that leads its process group; 0 if it is unknown.
    public var group: Int32
    /// The process that leads its session; 0 if it is unknown.
    public var session: Int32
    /// Its start time, in ticks of ``TaskDirectory/now``; distinguishes a task from a later one with the same number.
    public var startTime: UInt64

    /// A description of a task.
    public init(process: Int32, parent: Int32, group: Int32 = 0, session: Int32 = 0, startTime: UInt64) {
        self.process = process
        self.parent = parent
        self.group = group
        self.session = session
        self.startTime = startTime
    }
}

/// The tasks of the host, which the simulated machine does not see otherwise.
///
/// It may be called on any thread, also under locks of the machine, so it must not touch the simulated memory.
public protocol TaskDirectory: Sendable {
    /// A thread or process; nil if there is none of that number.
    func task(_ id: Int32) -> TaskDescription?
    /// The clock of ``TaskDescription/startTime``.
    var now: UInt64 { get }
    /// The present processes.
    var processes: [Int32] { get }
    /// The task that was made last; nil where the numbers of tasks do not tell which was made first.
    var newest: Int32? { get }
    /// Whether a process holds the device of a node open, or maps it.
    func holdsDeviceOpen(of node: Node, process: Int32) -> Bool
}

extension TaskDirectory {
    /// None: a directory whose tasks never begin within one tick of the clock does without.
    public var newest: Int32? { nil }
}

/// A machine without programs around it: no task is known.
struct NoTasks: TaskDirectory {
    func task(_ id: Int32) -> TaskDescription? { nil }
    var now: UInt64 { 0 }
    var processes: [Int32] { [] }
    func holdsDeviceOpen(of node: Node, process: Int32) -> Bool { false }
}
