/// A task, told from a later one of the same number.
public struct TaskIdentity: Sendable, Hashable {
    /// The number.
    public var id: Int32
    /// When it began, as ``TaskDescription/startTime`` has it.
    public var startTime: UInt64

    /// The task of a number that began then.
    public init(id: Int32, startTime: UInt64) {
        self.id = id
        self.startTime = startTime
    }
}

/// What the machine has to know of a task of the host (struct task_struct).
public struct TaskDescription: Sendable, Hashable {
    /// The process that the thread belongs to (tgid); its own number for a process.
    public var process: Int32
    /// The process that made it, or that adopted it since.
    public var parent: Int32
    /// The process that leads its process group; 0 where that is not known.
    public var group: Int32
    /// The process that leads its session; 0 where that is not known.
    public var session: Int32
    /// When it began, in ticks of ``TaskDirectory/now``; tells a task from a later one of the same number.
    public var startTime: UInt64

    /// A task as described.
    public init(process: Int32, parent: Int32, group: Int32 = 0, session: Int32 = 0, startTime: UInt64) {
        self.process = process
        self.parent = parent
        self.group = group
        self.session = session
        self.startTime = startTime
    }
}

/// The tasks of the host, of which the simulated machine knows nothing by itself.
///
/// May be asked on any thread, also under locks of the machine, so it must not touch the simulated memory.
public protocol TaskDirectory: Sendable {
    /// A thread or process; nil where there is none of that number.
    func task(_ id: Int32) -> TaskDescription?
    /// The clock of ``TaskDescription/startTime``.
    var now: UInt64 { get }
    /// The processes there are.
    var processes: [Int32] { get }
    /// Whether a process holds the device of a node open, or maps it.
    func holdsDeviceOpen(of node: Node, process: Int32) -> Bool
}

/// A machine without programs around it: no task is known.
struct NoTasks: TaskDirectory {
    func task(_ id: Int32) -> TaskDescription? { nil }
    var now: UInt64 { 0 }
    var processes: [Int32] { [] }
    func holdsDeviceOpen(of node: Node, process: Int32) -> Bool { false }
}
