import AttributeTree
import CoherentMemory
import LinuxSupport
import Logging
import SystemPackage

/// Every lock of the tree is one that the thread sanitizer sees.
typealias Mutex = TracedMutex

/// What the attributes of sys/ share: the machine, the jobs that they start, the events that they tell of, and the tasks.
package final class TreeServices: Sendable {
    /// What the tree shows.
    package let machine: Machine
    /// Where messages go that no request asked for.
    package let logger: Logger
    /// What control files have started.
    package let jobs = JobRunner()
    /// Who polls attributes.
    package let changes = ChangeHub()
    /// The memory management of the mount as a whole.
    package let memory: MemorySettings
    let power = PowerControls()
    /// The devices as the buses have them.
    let faces: [DeviceFaces]
    /// The ids that drivers of DAX devices were told of.
    let daxIDs = DAXIDs()
    /// What happens to the machine.
    package let uevents = UeventLog()
    /// Who reads what is recorded of it.
    package let trace: TraceLog
    /// On which nodes tasks run.
    package let tasks: TaskLocator
    /// The processes of the host.
    package let processes = ProcTasks()
    /// Why writes to controls were refused.
    package let lastErrors = LastErrors()
    let censuses = Censuses()
    let numaMaps = NumaMapsQuestion.Last()

    private struct Attached {
        weak var files: (any BufferFiles)?
    }

    private let attached = Mutex(Attached())
    private let nobody = NoFiles()

    /// What gives buffers their names and files; before ``attach(_:)`` they have none.
    var files: any BufferFiles { attached.withLock { $0.files } ?? nobody }

    /// Services over a machine, of which they become the observer.
    package init(machine: Machine, hugeMode: HugeMode? = nil, logger: Logger) {
        self.machine = machine
        self.logger = logger
        trace = TraceLog(machine.trace)
        memory = MemorySettings(defaultHugeMode: hugeMode)
        tasks = TaskLocator(machine: machine)
        faces = DeviceFaces.all(of: machine)
        trace.attach(self)
        machine.setTaskDirectory(processes)
        let (changes, uevents, power, jobs) = (changes, uevents, power, jobs)
        let faceEvents = FaceEvents(faces)
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
            for event in faceEvents.uevents(of: event) { uevents.post { event } }
            power.note(event, faces: faceEvents.paths)
        }
        machine.setObserver { [weak self] event in
            switch event {
            case .deviceRemoved, .link(_, .down): self?.files.partsHaveGone()
            default: break
            }
            switch event {
            case .pageFailed(let failure): self?.tell(failure)
            case .linkErrors(let name, let count): self?.tell(ofLinkErrors: count, device: name)
            default: break
            }
            if event.changesDirectories { self?.files.directoriesHaveChanged() }
            uevents.deliver()
            changes.kick()
        }
    }

    /// Sets who gives buffers their names and files; they are not kept.
    package func attach(_ files: any BufferFiles) { attached.withLock { $0.files = files } }

    /// Starts the threads that reclaim and balance memory; they end with the other jobs.
    package func startBackgroundWork() {
        let machine = machine
        let works: [(String, @Sendable (Cancellation) -> Void)] = [
            ("kswapd", { cancellation in machine.runKswapd(isCancelled: { cancellation.isCancelled }) }),
            ("trace", { [trace] cancellation in trace.run(isCancelled: { cancellation.isCancelled }) }),
            ("numa-balancing", { cancellation in machine.runBalancing(isCancelled: { cancellation.isCancelled }) }),
        ]
        for (name, work) in works {
            let job = Job(name) { cancellation throws(Errno) in
                try cancellation.withHandler({
                    machine.wakeBackgroundWork()
                    machine.trace.wake()
                }) { () throws(Errno) in
                    work(cancellation)
                }
            }
            jobs.start(job, Cancellation()) { _ in }
        }
    }

    /// Cancels what runs beside the requests, commands of devices, too; false when some of it still runs after `seconds`.
    package func endJobs(within seconds: Int) -> Bool {
        jobs.close()
        let queues = machine.devices.map(\.queue)
        for queue in queues { queue.close() }
        return jobs.wait(seconds: seconds) && queues.allSatisfy { $0.waitUntilIdle(seconds: seconds) }
    }
}

extension MachineEvent {
    /// Whether directories of sys/ came or went with it; a block that changes its state may make a tier, or end one.
    fileprivate var changesDirectories: Bool {
        switch self {
        case .block, .blockAdded, .blockRemoved, .nodeAdded, .nodeRemoved, .deviceAdded, .deviceRemoved,
            .bound, .unbound, .link:
            true
        default: false
        }
    }
}
