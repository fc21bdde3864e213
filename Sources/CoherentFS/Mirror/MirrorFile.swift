import AttributeTree
import CoherentMemory
import Dispatch
import Fuse
import Glibc
import LinuxSupport
import SystemPackage

/// A file dev/hmm_dmirrorN: a device of Linux's HMM test driver.
final class MirrorFile: Inode, @unchecked Sendable {
    /// How many bytes of zeros can be mapped, as Linux's driver has them for tests of mappings without `struct page`s of files.
    static let size = 1 << 16

    private let device: MirrorDevice
    private let services: Services
    private let metadata: Mutex<Metadata>

    init(device: MirrorDevice, services: Services, metadata: Metadata) {
        self.device = device
        self.metadata = Mutex(metadata)
        self.services = services
        super.init(number: services.inodes.makeNumber())
        services.mirrors.add(number)
    }

    override var attributes: FileAttributes {
        var attributes = FileAttributes(inode: number, type: .regular, permissions: 0)
        metadata.withLock { $0.fill(&attributes) }
        attributes.size = Int64(Self.size)
        return attributes
    }

    override var isLasting: Bool { true }

    override func change(_ changes: AttributeChanges, caller: Caller, isOpen: Bool) throws(Errno) {
        // O_TRUNC leaves a device as it is, which arrives here as truncate(2) to 0.
        if let size = changes.size, size != 0 || isOpen { throw .invalidArgument }
        metadata.withLock { $0.apply(changes) }
    }

    override func open(flags: Int32, caller: Caller) throws(Errno) -> (handle: OpenHandle, options: OpenReply.Options) {
        let (id, process) = try services.mirrors.open(caller, tasks: services.processes)
        do throws(Errno) {
            let mirror = try Mirror(
                device, id, process, task: caller.pid, mount: services.processes.mount, files: services.mirrors.files)
            return (MirrorHandle(mirror, user: caller.uid, services: services), [.directIO, .noFlush])
        } catch {
            services.mirrors.close(caller.uid)
            throw error
        }
    }
}

/// An open file dev/hmm_dmirrorN, which mirrors the address space of whoever opened it, and of nobody else it is handed to.
final class MirrorHandle: OpenHandle, @unchecked Sendable {
    /// How long an interrupted call may go on. Linux's cannot be interrupted, so one that is quick is not either.
    private static let patience = DispatchTimeInterval.seconds(1)

    private let mirror: Mirror
    private let user: UInt32
    private let services: Services

    init(_ mirror: Mirror, user: UInt32, services: Services) {
        self.mirror = mirror
        self.user = user
        self.services = services
    }

    override func ioctl(_ request: consuming Request, _ command: IoctlCommand, input: RawSpan) {
        guard let action = MirrorCommand.Action(command) else {
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
            DispatchQueue.global().start(at: .now() + Self.patience) {
                cancellation.cancel()
                waiting?.error(.interrupted)
            }
        }
        let (mirror, mirrors, user) = (mirror, services.mirrors, user)
        do throws(Errno) {
            try mirrors.begin(user, by: request.caller.pid)
        } catch {
            request.error(error)
            return
        }
        // Not among the jobs that the end of the mount waits for: where the process handles its own page faults, this may
        // wait for as long as that lives.
        DispatchQueue(label: "cdmfs.dmirror").start {
            defer { mirrors.end(user) }
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
        guard offset < MirrorFile.size else {
            request.end()
            return
        }
        let zeros = [UInt8](repeating: 0, count: min(size, MirrorFile.size - Int(offset)))
        unsafe request.data(zeros.span.bytes)
    }

    override func closed() {
        // As in Linux, the last close of any file of a device brings back what is on it.
        mirror.device.memory.release()
        services.mirrors.close(user)
    }
}
