import CoherentMemory
import CoherentTree
import Fuse
import Glibc
import LinuxSupport
import Logging
import MachineTopology
import Programs
import SystemPackage

/// The reason why a machine could not be mounted, in one line.
public struct MountFailure: Error, Sendable, CustomStringConvertible {
    /// The line, without a full stop.
    public let description: String

    init(_ description: String) { self.description = description }
}

/// The mode and group of the device files. The user who mounts owns them.
public struct DevicePermissions: Sendable, Hashable {
    /// The mode, of which the lowest nine bits count. Default: owner and group, as for an accelerator's render node.
    public var mode: UInt32 = 0o660
    /// The group; nil for the group of the user who mounts.
    public var group: UInt32?

    /// The defaults given at each property.
    public init() {}
}

/// The options of a mount.
public struct FileSystemOptions: Sendable {
    /// Bytes around a touched page that get their frames with it: a power of two from 4 KiB to 1 MiB. It is the
    /// read-ahead of the mount, and takes effect only for root.
    public var faultAround: UInt64 = 128 << 10
    /// Whether users other than the one who mounts have access. A mount by root always allows it, as with any other
    /// file system.
    public var allowOther = false
    /// Whether new buffers have huge pages; each buffer can override it. If nil, tracked buffers have none, and direct
    /// buffers have those within their size.
    public var huge: HugeMode?
    /// How new buffers are mapped; each buffer can override it. A buffer that cannot be direct is tracked, and the log
    /// says so.
    public var mapping = MappingMode.tracked
    /// The initial mode of automatic NUMA balancing.
    public var balancing: BalancingMode = []
    /// The mode and group of the files below dev/.
    public var devices = DevicePermissions()
    /// How requests arrive from the kernel.
    public var transport = Transport.automatic
    /// Whether a touch of a failed page of a buffer or device file is SIGBUS with BUS_MCEERR_AR in every program. Otherwise it is so in programs
    /// of `cdmfs run` alone. The daemon needs the right to trace any process.
    public var tellsFailures = false
    /// The source that mount(8) and findmnt(8) show.
    public var source = "cdmfs"
    /// The limits of scarce resources.
    public var limits = Limits()
    /// Further mount options of the kernel: `ro`, `noatime`, ….
    public var kernel: [String] = []
    /// The number of threads that serve requests.
    public var workers = min(32, max(4, 2 * sysconf(Int32(_SC_NPROCESSORS_ONLN))))

    /// The defaults given at each property.
    public init() {}
}

/// The origin of a mount.
public enum MountPlace: Sendable {
    /// The session mounts on an existing directory.
    case directory(FilePath)
    /// Another process has made the mount with an open `/dev/fuse`, which the mount takes ownership of. `path` is a
    /// path of it in this process's namespace.
    case made(with: FileDescriptor, number: DeviceNumber, path: FilePath)

    var path: FilePath {
        switch self {
        case .directory(let path), .made(_, _, let path): path
        }
    }
}

/// A machine that is mounted and served.
public final class MountedFileSystem: Sendable {
    /// The machine behind the mount.
    public let machine: Machine
    private let fileSystem: CoherentFileSystem
    private let session: Session

    /// Makes a machine and mounts it; returns after the mount answers.
    ///
    /// - Throws: a ``MountFailure``; then nothing is left mounted.
    public init(
        _ topology: Topology, at place: MountPlace, options: FileSystemOptions = .init(), logger: Logger
    ) throws(MountFailure) {
        guard !options.tellsFailures || FailedTouches.areAllowed else {
            throw MountFailure("mceerr: the daemon may not trace other processes, which takes CAP_SYS_PTRACE")
        }
        do throws(Errno) {
            machine = try Machine(topology: topology)
        } catch {
            throw MountFailure("the machine's memory cannot be reserved: \(error)")
        }
        fileSystem = CoherentFileSystem(
            machine: machine, hugeMode: options.huge, faultAround: options.faultAround,
            tellsFailures: options.tellsFailures, devices: options.devices, limits: options.limits,
            accessTimes: AccessTimes(mountedWith: options.kernel), logger: logger)
        var mount = MountOptions()
        mount.allowOther = options.allowOther || geteuid() == 0
        mount.source = options.source
        mount.others = options.kernel
        mount.transport = options.transport
        do throws(MountError) {
            session = try Session(fileSystem: fileSystem, options: mount, logger: logger)
            switch place {
            case .directory(let path): try session.mount(at: path)
            case .made(let descriptor, let number, let path): try session.adopt(descriptor, of: number, at: path)
            }
            if let device = session.device { fileSystem.services.processes.setMount(device) }
        } catch {
            throw MountFailure("\(error)")
        }
        do throws(Errno) {
            try session.start(workers: options.workers)
        } catch {
            session.close()
            throw MountFailure("a thread cannot be started: \(error)")
        }
        guard session.waitUntilServing() else {
            let refusal = session.ringFailure
            session.close()
            throw MountFailure(
                refusal.map { "transport=io_uring: the kernel refuses it: \($0); use transport=auto" }
                    ?? "\(place.path): unmounted before it answered")
        }
        if let refusal = session.ringFailure {
            logger.notice("the kernel refuses FUSE over io_uring: \(refusal); requests use /dev/fuse, which is slower")
        }
        logger.debug("transport: \(session.transport.rawValue)")
        fileSystem.services.direct.prepare(isDefault: options.mapping == .direct)
        fileSystem.services.pageCache.setWriteBack(WriteBack(session))
        machine.balancing.mode = options.balancing
        fileSystem.services.base.startBackgroundWork()
        if let group = MemoryGroup.own {
            machine.setHostLimit(pages: group.pages)
            logger.notice(
                "the memory cgroup of the daemon has a limit: pages beyond \(group.pages * 4 >> 10) MiB get no frame (ENOSPC, SIGBUS); raise the limit to use the whole machine"
            )
        }
        let failures = session.tuneBackingDevice(readAheadKilobytes: Int(options.faultAround >> 10))
        if !failures.isEmpty {
            let list = failures.map(\.description).joined(separator: ", ")
            logger.notice(
                "cannot set \(list) of the mount's backing device: mapped stores are slower; only root can set it")
        }
    }

    /// Readable after the mount is gone; it belongs to the mount.
    public var ended: FileDescriptor { session.endEvent }

    /// Unmounts if still mounted, and ends every thread. Call it once, on a thread that does not serve the mount.
    public func close() {
        fileSystem.services.programs.close()
        // A job may wait for a page that a request holds; where that one gets no answer, only the connection's end lets go.
        if !fileSystem.services.base.endJobs(within: 5) {
            try? session.abortConnection()
            _ = fileSystem.services.base.endJobs(within: 60)
        }
        session.close()
    }
}
