import CoherentMemory
import Fuse
import Glibc
import LinuxSupport
import SystemPackage

/// Where a page of a process is that is not simply in system memory.
struct DevicePlacement: Sendable {
    /// The device that has the page; nil for a page in system memory that a device has to itself.
    var device: MirrorDevice?
    /// The device's generation when the page came to it.
    var generation: UInt64 = 0
    /// The frame that it has there.
    var slot: UInt64 = 0
    /// The mirror that has exclusive access; 0 for none.
    var exclusive: UInt64 = 0
    /// Whether the page may be written where it is.
    var isWritable: Bool
    /// The page as it was then; another one in its place means that it has come back.
    var identity: UInt64
    /// Whether such a touch can be seen.
    var isWatched: Bool

    /// Whether a touch by the CPU ends it.
    var endsWithTouch: Bool { exclusive != 0 || device?.kind == .hidden }

    /// Whether the device has given up all that it had since then.
    var isOver: Bool { device.map { $0.memory.generation != generation } ?? false }
}

/// A process with mirrors. What its mirrors know of its pages they share, as drivers do through the kernel's page table.
final class MirroredProcess: @unchecked Sendable {
    // Unchecked: `placements` is guarded by `turn`, as are the mirrors' page tables.

    /// Held for as long as an ioctl on one of the mirrors takes. Never taken by those who serve requests.
    let turn = Mutex<Void>(())
    var placements = DevicePlacements()
    let id: Int32

    init(id: Int32) { self.id = id }
}

/// The mirrors of a mount.
final class MirrorRegistry: Sendable {
    private struct WeakProcess {
        weak var process: MirroredProcess?
    }

    private struct State {
        var processes: [TaskIdentity: WeakProcess] = [:]
        var lastID: UInt64 = 0
        var files: Set<UInt64> = []
    }

    private let accounts: Accounts
    private let state = Mutex(State())

    init(_ accounts: Accounts) { self.accounts = accounts }

    /// Adds a device's file.
    func add(_ file: InodeNumber) { state.withLock { _ = $0.files.insert(file.rawValue) } }

    /// The inodes of the devices' files.
    var files: Set<UInt64> { state.withLock { $0.files } }

    /// A number for a new mirror, and the process that it mirrors.
    ///
    /// - Throws: EMFILE where the user, or all users, have too many mirrors open; ESRCH for no such process.
    func open(_ caller: Caller, tasks: ProcTasks) throws(Errno) -> (id: UInt64, process: MirroredProcess) {
        guard let task = tasks.task(caller.pid), let identity = tasks.identity(of: task.process) else {
            throw .noSuchProcess
        }
        try accounts.mirrors.charge(to: caller.uid, by: caller.pid)
        return state.withLock { state in
            state.processes = state.processes.filter { $0.value.process != nil }
            let process = state.processes[identity]?.process ?? MirroredProcess(id: identity.id)
            state.processes[identity] = WeakProcess(process: process)
            state.lastID += 1
            return (state.lastID, process)
        }
    }

    /// A mirror that a user opened is gone.
    func close(_ user: UInt32) { accounts.mirrors.release(of: user) }

    /// Counts an ioctl that begins.
    ///
    /// - Throws: EAGAIN where too many run, for each holds a thread.
    func begin(_ user: UInt32, by task: Int32) throws(Errno) { try accounts.mirrorCalls.charge(to: user, by: task) }

    /// The ioctl has ended.
    func end(_ user: UInt32) { accounts.mirrorCalls.release(of: user) }
}
