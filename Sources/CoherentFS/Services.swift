import AttributeTree
import CoherentMemory
import Fuse
import LinuxSupport
import Logging
import Synchronization
import SystemPackage

// swift-system has a type of the same name.
typealias FileType = Fuse.FileType

// The lock that the thread sanitizer understands.
typealias Mutex = TracedMutex

/// A directory that somebody else keeps.
struct WeakDirectory {
    weak var directory: BufferDirectory?
}

/// A file that somebody else keeps.
struct WeakFile {
    weak var file: MemoryFile?
}

/// A tree that somebody else keeps.
struct WeakTree {
    weak var cache: TreeCache?
}

/// What the parts of a mount share.
final class Services: Sendable {
    let machine: Machine
    let logger: Logger
    let inodes = InodeTable()
    let jobs = JobRunner()
    let changes = ChangeHub()
    let trimmer = HeapTrimmer()
    let held = HeldRequests()
    let memory: MemorySettings
    let power = PowerControls()
    let uevents = UeventLog()
    let notifier: Notifier
    let pageCache: PageCache
    let direct: DirectMappings
    let unmappable: Unmappable
    let tasks: TaskLocator
    /// The processes of the host.
    let processes = ProcTasks()
    let censuses = Censuses()
    let mirrors: MirrorRegistry
    /// What users have of what is limited.
    let accounts: Accounts
    let numaMaps = NumaMapsQuestion.Last()
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

    init(
        machine: Machine, hugeMode: HugeMode?, limits: Limits, accessTimes: AccessTimes, logger: Logger,
        notifier: Notifier
    ) {
        self.accessTimes = accessTimes
        accounts = Accounts(limits, memory: UInt64(machine.nodes.reduce(0) { $0 + $1.usage.present }) * Page.size)
        mirrors = MirrorRegistry(accounts)
        memory = MemorySettings(defaultHugeMode: hugeMode)
        self.machine = machine
        self.logger = logger
        self.notifier = notifier
        pageCache = PageCache(notifier: notifier, logger: logger)
        direct = DirectMappings(notifier: notifier, logger: logger)
        unmappable = Unmappable(notifier: notifier, logger: logger)
        tasks = TaskLocator(machine: machine)
        machine.setInvalidator(pageCache)
        machine.setTaskDirectory(processes)
        let (changes, uevents, power, jobs) = (changes, uevents, power, jobs)
        changes.setBusy { jobs.isMoving }
        machine.setBackgroundObserver { move in
            let end = jobs.list(move)
            changes.kick()
            return {
                end()
                changes.kick()
            }
        }
        machine.setRecorder { event in
            uevents.note(event)
            power.note(event)
        }
        machine.setObserver { [weak self] event in
            // Before anybody is told of it.
            if case .deviceRemoved = event { self?.departed() }
            switch event {
            case .link(_, .down): self?.departed()
            case .pageFailed(let failure): self?.tell(failure)
            case .linkErrors(let name, let count): self?.tell(ofLinkErrors: count, device: name)
            default: break
            }
            if event.changesDirectories { self?.tree.withLock { $0.cache }?.recount() }
            uevents.deliver()
            changes.kick()
        }
    }

    /// Runs a job that a request asked for; the thread that does the work answers with `success` or the job's error, and
    /// an interrupt of the caller cancels it.
    func run(
        _ job: Job, for request: consuming Request, _ success: @escaping @Sendable (consuming Request) -> Bool
    ) {
        do throws(Errno) {
            if try jobs.runAtOnce(job) {
                changes.kick()
                _ = success(request)
                return
            }
        } catch {
            changes.kick()
            request.error(error)
            return
        }
        let cancellation = Cancellation()
        let deferred = request.deferred()
        deferred.onInterrupt { cancellation.cancel() }
        let isStarted = jobs.start(job, for: deferred.caller.uid, cancellation) { [changes] error in
            changes.kick()
            if let error { deferred.error(error) } else { deferred.answer(success) }
        }
        if !isStarted { deferred.error(.resourceTemporarilyUnavailable) }
        changes.kick()
    }

    /// What is to be done when a part of the machine has gone. Called from the thread that took it away.
    private let departures = Mutex<(@Sendable () -> Void)?>(nil)

    private func departed() { departures.withLock { $0 }?() }

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

    /// Sets what is to be done when a part of the machine has gone.
    func onDeparture(_ body: @escaping @Sendable () -> Void) { departures.withLock { $0 = body } }
}

extension MachineEvent {
    /// Whether directories of sys/ came or went with it; a block that changes its state may make a tier, or end one.
    fileprivate var changesDirectories: Bool {
        switch self {
        case .block, .blockAdded, .blockRemoved, .nodeAdded, .nodeRemoved, .deviceAdded, .deviceRemoved, .link: true
        default: false
        }
    }
}
