import CoherentMemory
import Fuse
import Logging

// swift-system has a type of the same name.
typealias FileType = Fuse.FileType

// The lock that the thread sanitizer understands.
typealias Mutex = TracedMutex

/// What the parts of a mount share.
final class Services: Sendable {
    let machine: Machine
    let logger: Logger
    let inodes = InodeTable()
    let jobs = JobRunner()
    let changes = ChangeHub()
    let memory: MemorySettings
    let power = PowerControls()
    let uevents = UeventLog()
    let pageCache: PageCache
    let tasks: TaskLocator
    /// Guards every directory below buffers/.
    let namespace = Mutex<Void>(())

    init(machine: Machine, hugeMode: HugeMode, logger: Logger, notifier: Notifier) {
        memory = MemorySettings(defaultHugeMode: hugeMode)
        self.machine = machine
        self.logger = logger
        pageCache = PageCache(notifier: notifier, logger: logger)
        tasks = TaskLocator(machine: machine)
        machine.setInvalidator(pageCache)
        let (changes, uevents) = (changes, uevents)
        machine.setRecorder { uevents.note($0) }
        machine.setObserver { _ in
            uevents.deliver()
            changes.kick()
        }
    }
}
