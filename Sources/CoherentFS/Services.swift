import AttributeTree
import CoherentMemory
import CoherentTree
import Fuse
import HMMTestDevice
import LinuxSupport
import Logging
import Synchronization
import SystemPackage

// swift-system has a type of the same name.
typealias FileType = Fuse.FileType

// The lock that the thread sanitizer understands.
typealias Mutex = TracedMutex

/// A directory that is kept elsewhere.
struct WeakDirectory {
    weak var directory: BufferDirectory?
}

/// A file that is kept elsewhere.
struct WeakFile {
    weak var file: MemoryFile?
}

/// A tree that is kept elsewhere.
struct WeakTree {
    weak var cache: TreeCache?
}

/// Programs that are kept elsewhere: they have the machine, which has the page cache.
struct WeakPrograms {
    weak var programs: MountedPrograms?
}

/// What the parts of a mount share: what the tree needs, and what files and directories need beside it.
final class Services: Sendable {
    /// What the attributes of sys/ share.
    let base: TreeServices
    let machine: Machine
    let logger: Logger
    let inodes = InodeTable()
    let refusals = Refusals()
    let trimmer = HeapTrimmer()
    let held = HeldRequests()
    let notifier: Notifier
    let pageCache: PageCache
    let direct: DirectMappings
    let unmappable: Unmappable
    let mirrors = MirrorRegistry()
    /// What users have of what is limited.
    let accounts: Accounts
    let programs: MountedPrograms
    /// The sys/ tree.
    let tree = Mutex(WeakTree())
    /// The directory buffers/.
    let buffers = Mutex(WeakDirectory())
    let accessTimes: AccessTimes
    /// Guards every directory below buffers/.
    let namespace = Mutex<Void>(())
    /// Counts what changes paths below buffers/, or who may see them, apart from names that come and go.
    let pathVersion = Atomic<UInt64>(0)
    /// The files whose contents are memory, by the numbers of their buffers.
    let files = Mutex(IDTable<WeakFile>())

    var jobs: JobRunner { base.jobs }
    var changes: ChangeHub { base.changes }
    var uevents: UeventLog { base.uevents }
    var tasks: TaskLocator { base.tasks }
    var processes: ProcTasks { base.processes }

    init(
        machine: Machine, hugeMode: HugeMode?, faultAround: UInt64, tellsFailures: Bool, limits: Limits,
        accessTimes: AccessTimes, logger: Logger, notifier: Notifier
    ) {
        self.accessTimes = accessTimes
        accounts = Accounts(limits, memory: UInt64(machine.nodes.reduce(0) { $0 + $1.usage.present }) * Page.size)
        self.machine = machine
        self.logger = logger
        self.notifier = notifier
        pageCache = PageCache(notifier: notifier, logger: logger)
        direct = DirectMappings(notifier: notifier, logger: logger)
        unmappable = Unmappable(notifier: notifier, logger: logger)
        base = TreeServices(machine: machine, hugeMode: hugeMode, logger: logger)
        programs = MountedPrograms(
            machine: machine, inodes: inodes, processes: base.processes, tasks: base.tasks, shares: accounts.frames,
            faultAround: faultAround, tellsAll: tellsFailures, logger: logger)
        pageCache.setPrograms(programs)
        machine.setInvalidator(pageCache)
        base.attach(self)
    }

    /// Runs a job that a request asked for; the thread that does the work answers with `success` or the job's error, and
    /// an interrupt of the caller cancels it.
    func run(
        _ job: Job, of write: ControlWrite, for request: consuming Request,
        _ success: @escaping @Sendable (consuming Request) -> Bool
    ) {
        do throws(Errno) {
            if try jobs.runAtOnce(job) {
                changes.kick()
                _ = success(request)
                return
            }
        } catch {
            changes.kick()
            write.refused(error)
            request.error(error)
            return
        }
        let cancellation = Cancellation()
        let deferred = request.deferred()
        deferred.onInterrupt { cancellation.cancel() }
        let isStarted = jobs.start(job, for: deferred.caller.uid, cancellation) { [changes] error in
            changes.kick()
            if let error {
                write.refused(error)
                deferred.error(error)
            } else {
                deferred.answer(success)
            }
        }
        if !isStarted {
            let error = write.reason.note(
                .resourceTemporarilyUnavailable, "too many jobs of the user, or of all users, run already")
            write.refused(error)
            deferred.error(error)
        }
        changes.kick()
    }

    /// A directory below buffers/ has another name, or another mode or owner.
    func pathsChanged() { pathVersion.wrappingAdd(1, ordering: .releasing) }

    /// Something below buffers/ has lost its name.
    func unlinked(_ inode: Inode) {
        tree.withLock { $0.cache }?.unlinked(inode.number)
        inode.unlinked()
    }

    /// Ends the file system: inodes know these services, which know them, and so would keep each other and the machine for ever.
    func forgetInodes() {
        tree.withLock { $0.cache }?.removeAll()
        changes.removeAll()
        inodes.removeAll()
    }
}

extension Services: BufferFiles {
    func name(of buffer: Buffer.ID) -> Uevent.Value {
        switch files.withLock({ $0[buffer]?.file }) {
        case let device as DeviceFile: .text(device.path)
        case let file as BufferFile: path(of: file).map { .buffer($0) } ?? .text(BufferPath.deleted)
        default: .text(programs.name(of: buffer) ?? BufferPath.deleted)
        }
    }

    /// Where a file below buffers/ stands; nil where it has no name any more.
    func path(of file: BufferFile) -> BufferPath? {
        namespace.withLock { _ in
            guard let place = file.place, let directory = place.directory else { return nil }
            return directory.path(of: file, under: place.name)
        }
    }

    func ownership(of buffer: Buffer) -> Directory.Ownership? { files.withLock { $0[buffer.id]?.file }?.ownership }

    func memory(named name: String) throws(Errno) -> Buffer {
        let path = name.split(separator: "/", omittingEmptySubsequences: false).map { FileName(String($0)) }
        let directory = buffers.withLock { $0.directory }
        guard let buffer = Self.memory(at: path, from: directory) ?? Self.memory(at: path, from: inodes[.root]) else {
            throw .noSuchFileOrDirectory
        }
        return buffer
    }

    private static func memory(at path: [FileName], from directory: Inode?) -> Buffer? {
        var inode = directory
        for name in path { inode = (try? inode?.child(name))?.inode }
        return (inode as? MemoryFile)?.buffer
    }

    func file(ofInode inode: UInt64) -> (buffer: Buffer, isDevice: Bool)? {
        // What is mapped, the kernel has not forgotten.
        guard let file = inodes[InodeNumber(rawValue: inode)] as? MemoryFile else { return nil }
        return (file.buffer, file is DeviceFile)
    }

    func openFile(of buffer: Buffer) -> OpenFileUse? {
        pageCache.file(of: buffer).map { file in
            OpenFileUse(
                inode: file.number.rawValue, openers: file.use.withLock { $0.openers }.mapValues { $0.last })
        }
    }

    func partsHaveGone() { tree.withLock { $0.cache }?.sweep() }

    func directoriesHaveChanged() { tree.withLock { $0.cache }?.recount() }
}
