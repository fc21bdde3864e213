import CoherentMemory
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
public final class MirrorRegistry: Sendable {
    private struct WeakProcess {
        weak var process: MirroredProcess?
    }

    private struct State {
        var processes: [TaskIdentity: WeakProcess] = [:]
        var lastID: UInt64 = 0
        var files: Set<UInt64> = []
    }

    private let state = Mutex(State())

    /// No mirrors yet.
    public init() {}

    /// Adds a device's file, by its inode on the mount.
    public func add(file inode: UInt64) { state.withLock { _ = $0.files.insert(inode) } }

    /// Mirrors the address space of a process for as long as the mirror is there.
    ///
    /// - Parameters:
    ///   - device: whose page table it is in.
    ///   - task: a thread of the process that waits for the answer, and so is still the one that asked.
    ///   - process: the process of that thread.
    ///   - mount: the device number of the mount, whose files a device may not store to; nil before it is mounted.
    /// - Throws: ESRCH for no such process; EACCES or EPERM where its memory may not be touched.
    public func open(
        _ device: MirrorDevice, task: Int32, of process: TaskIdentity, mount: DeviceNumber?
    ) throws(Errno) -> Mirror {
        let (id, mirrored, files) = state.withLock { state in
            state.processes = state.processes.filter { $0.value.process != nil }
            let mirrored = state.processes[process]?.process ?? MirroredProcess(id: process.id)
            state.processes[process] = WeakProcess(process: mirrored)
            state.lastID += 1
            return (state.lastID, mirrored, state.files)
        }
        return try Mirror(device, id, mirrored, task: task, mount: mount, files: files)
    }
}
