import AttributeTree
import CoherentMemory
import CoherentTree
import Dispatch
import Fuse
import Glibc
import HMMTestDevice
import LinuxSupport
import SystemPackage

/// A file dev/hmm_dmirrorN: a device of Linux's HMM test driver.
final class MirrorFile: Inode, @unchecked Sendable {
    private let device: MirrorDevice
    private let services: Services
    private let metadata: Mutex<Metadata>

    init(device: MirrorDevice, services: Services, metadata: Metadata) {
        self.device = device
        self.metadata = Mutex(metadata)
        self.services = services
        super.init(number: services.inodes.makeNumber())
        services.mirrors.add(file: number.rawValue)
    }

    override var attributes: FileAttributes {
        var attributes = FileAttributes(inode: number, type: .regular, permissions: 0)
        metadata.withLock { $0.fill(&attributes) }
        attributes.size = Int64(MirrorDevice.fileSize)
        return attributes
    }

    override var isLasting: Bool { true }

    override func change(_ changes: AttributeChanges, caller: Caller, isOpen: Bool) throws(Errno) {
        // O_TRUNC leaves a device as it is, which arrives here as truncate(2) to 0.
        if let size = changes.size, size != 0 || isOpen { throw .invalidArgument }
        metadata.withLock { $0.apply(changes) }
    }

    /// - Throws: EMFILE where the user, or all users, have too many mirrors open; ESRCH for no such process.
    override func open(flags: Int32, caller: Caller) throws(Errno) -> (handle: OpenHandle, options: OpenReply.Options) {
        let (tasks, quota) = (services.processes, services.accounts.mirrors)
        guard let task = tasks.task(caller.pid), let process = tasks.identity(of: task.process) else {
            throw .noSuchProcess
        }
        try quota.charge(to: caller.uid, by: caller.pid)
        do throws(Errno) {
            let mirror = try services.mirrors.open(device, task: caller.pid, of: process, mount: tasks.mount)
            return (MirrorHandle(mirror, user: caller.uid, services: services), [.directIO, .noFlush])
        } catch {
            quota.release(of: caller.uid)
            throw error
        }
    }
}

/// An open file dev/hmm_dmirrorN, which mirrors the address space of the process that opened it, and of none that gets the descriptor.
final class MirrorHandle: OpenHandle, @unchecked Sendable {
    /// How long an interrupted call may go on. Linux's cannot be interrupted, so one that is quick is not either.
    private static let interruptTimeout = DispatchTimeInterval.seconds(1)

    private let mirror: Mirror
    private let user: UInt32
    private let services: Services

    init(_ mirror: Mirror, user: UInt32, services: Services) {
        self.mirror = mirror
        self.user = user
        self.services = services
    }

    override func ioctl(_ request: consuming Request, _ command: IoctlCommand, input: RawSpan) {
        guard let action = MirrorCommand.Action(ioctl: command.command) else {
            request.error(.inappropriateIOCTLForDevice)
            return
        }
        let decoded: MirrorCommand
        let caller: AddressSpace
        do throws(Errno) {
            decoded = try MirrorCommand(action, input)
            // While it waits for the answer it is the one that asks; an interrupted one may be gone before the job ends.
            caller = try AddressSpace(task: request.caller.pid, mount: services.processes.mount)
        } catch {
            request.error(error)
            return
        }
        start(decoded, caller, request.deferred())
    }

    private func start(_ command: MirrorCommand, _ caller: AddressSpace, _ request: DeferredRequest) {
        let cancellation = Cancellation()
        weak let waiting = request
        request.onInterrupt {
            DispatchQueue.global().start(at: .now() + Self.interruptTimeout) {
                cancellation.cancel()
                waiting?.error(.interrupted)
            }
        }
        let (mirror, calls, user) = (mirror, services.accounts.mirrorCalls, user)
        do throws(Errno) {
            // Each holds a thread: EAGAIN where too many run.
            try calls.charge(to: user, by: request.caller.pid)
        } catch {
            request.error(error)
            return
        }
        // Not among the jobs that the end of the mount waits for: where the process handles its own page faults, this may
        // wait for as long as that lives.
        DispatchQueue(label: "cdmfs.dmirror").start {
            defer { calls.release(of: user) }
            do throws(Errno) {
                let outcome = try mirror.run(command, for: caller, cancellation)
                let answer = command.answer(outcome)
                request.answer { request in unsafe request.ioctl(0, answer.span.bytes) }
            } catch {
                request.error(error)
            }
        }
    }

    override func read(_ request: consuming Request, size: Int, offset: Int64) {
        guard offset < MirrorDevice.fileSize else {
            request.end()
            return
        }
        let zeros = [UInt8](repeating: 0, count: min(size, MirrorDevice.fileSize - Int(offset)))
        unsafe request.data(zeros.span.bytes)
    }

    override func closed() {
        mirror.device.release()
        services.accounts.mirrors.release(of: user)
    }
}
