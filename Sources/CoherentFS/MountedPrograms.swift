import CoherentMemory
import CoherentTree
import Fuse
import LinuxSupport
import Logging
import MachineTopology
import Programs
import SystemPackage

/// The programs that `cdmfs run` has started, whose calls act on the machine.
final class MountedPrograms: Sendable {
    private let world: MountedWorld
    /// Whether every program is told of failed memory as those of runs are.
    private let tellsAll: Bool
    /// Made for the first of them.
    private let server = Mutex<ProgramServer?>(nil)

    init(
        machine: Machine, inodes: InodeTable, processes: ProcTasks, tasks: TaskLocator, shares: FrameShares?,
        faultAround: UInt64, tellsAll: Bool, logger: Logger
    ) {
        self.tellsAll = tellsAll
        world = MountedWorld(
            machine: machine, inodes: inodes, processes: processes, tasks: tasks, shares: shares,
            faultAround: faultAround,
            logger: logger)
    }

    /// Whether anonymous memory of programs can be the machine's on this host.
    let hasMemory = ProgramServer.hasMemory

    /// Takes pages of a program away whose frames failed.
    func takeFailed(_ memory: Buffer, bytes: Range<UInt64>) {
        server.withLock { $0 }?.takeFailed(memory, bytes: bytes)
    }

    /// What a buffer is called that is memory of programs; see ``ProgramServer/name(of:)``.
    func name(of id: Buffer.ID) -> String? { server.withLock { $0 }?.name(of: id) }

    /// Has programs told of failed pages of a direct buffer that they map.
    func watchFailures(of buffer: Buffer, bytes: Range<UInt64>) {
        server.withLock { $0 }?.watchFailures(of: buffer, bytes: bytes)
    }

    /// The use of pages of memory of programs.
    func use(of memory: Buffer, pages: [Range<UInt64>]) -> ProgramUse? {
        server.withLock { $0 }?.use(of: memory, pages: pages)
    }

    /// The memory of a process without a file; see ``ProgramServer/memory(ofTask:)``.
    func memory(ofTask task: Int32) -> [MappedBuffer] { server.withLock { $0 }?.memory(ofTask: task) ?? [] }

    /// Has the touch of a page fail for which a READ waits; see ``FailedTouches``. It does not wait.
    ///
    /// - Parameters:
    ///   - caller: who asks.
    ///   - granularity: the binary logarithm of the bytes that have failed.
    ///   - fail: answers the READ.
    /// - Returns: false where its signal is to be as the kernel sends it; then `fail` is not called.
    func failTouch(
        by caller: Caller, granularity: Int32, _ fail: @escaping @Sendable () -> Void
    ) -> Bool {
        let (thread, user) = (caller.pid, caller.uid)
        guard thread > 0 else { return false }
        let server = server.withLock { $0 }
        guard tellsAll || server?.hasPrograms ?? false else { return false }
        return world.failedTouches.begin(
            FailedTouch(by: thread, of: user, granularity: granularity, fail: fail)
        ) { [tellsAll] in tellsAll || server?.isProgram(thread, of: user) ?? false }
    }

    /// See ``ProgramServer/processes``.
    var processes: (known: [Int32], others: Int) { server.withLock { $0 }?.processes ?? ([], 0) }

    /// Answers no more calls.
    func close() { server.withLock { $0 }?.close() }

    /// Answers the calls that a listener reports; see ``ProgramServer/serve(process:listener:keeper:user:)``.
    func serve(listener: Int32, keeper: Int32, of process: Int32, user: UInt32) throws(Errno) {
        let server = try server.withLock { server throws(Errno) in
            if let server { return server }
            let new = try ProgramServer(world)
            server = new
            return new
        }
        try server.serve(process: process, listener: listener, keeper: keeper, user: user)
    }
}

/// What programs may reach of a mount.
private struct MountedWorld: ProgramWorld {
    let machine: Machine
    let inodes: InodeTable
    let processes: ProcTasks
    let tasks: TaskLocator
    let shares: FrameShares?
    let faultAround: UInt64
    let logger: Logger
    let failedTouches = FailedTouches()

    var mountDevice: DeviceNumber? { processes.mount }

    func buffer(ofInode inode: UInt64) -> Buffer? {
        // What is mapped, the kernel has not forgotten.
        (inodes[InodeNumber(rawValue: inode)] as? MemoryFile)?.buffer
    }

    func share(ofUser user: UInt32) -> FrameShare? { shares?[user] }

    func note(_ message: String) { logger.notice("\(message)") }

    func node(ofTask task: Int32) -> Int { tasks.origin(ofTask: task).node }

    func cpu(ofTask task: Int32) -> Int { tasks.cpu(ofTask: task) ?? 0 }

    func task(named number: Int32, by task: Int32) throws(Errno) -> (task: Int32, process: Int32) {
        let own: Int32
        if let namespace = try PIDNamespace(of: task) {
            own = try namespace.ownNumber(of: number)
        } else {
            own = number
        }
        guard let description = processes.task(own) else { throw .noSuchProcess }
        return (own, description.process)
    }
}

extension Services {
    var hasMemoryOfPrograms: Bool { programs.hasMemory }

    func memory(ofTask task: Int32) -> [MappedBuffer] { programs.memory(ofTask: task) }

    var processesOfPrograms: (known: [Int32], others: Int) { programs.processes }

    var openers: Set<Int32> { pageCache.openers }

    func serve(listener: Int32, keeper: Int32, of process: Int32, user: UInt32) throws(Errno) {
        try programs.serve(listener: listener, keeper: keeper, of: process, user: user)
    }
}
