import CoherentMemory
import Fuse
import Glibc
import LinuxSupport
import Logging
import MachineTopology
import SystemPackage

/// Why a machine could not be mounted, in one line.
public struct MountFailure: Error, Sendable, CustomStringConvertible {
    /// The line, without a full stop.
    public let description: String

    init(_ description: String) { self.description = description }
}

/// Who may use the device files. Their owner is whoever mounts.
public struct DevicePermissions: Sendable, Hashable {
    /// The mode, of which the lowest nine bits count: as of an accelerator's render node, the owner and a group.
    public var mode: UInt32 = 0o660
    /// The group; nil for that of whoever mounts.
    public var group: UInt32?

    /// The defaults given at each property.
    public init() {}
}

/// How a machine is mounted.
public struct FileSystemOptions: Sendable {
    /// Bytes around a touched page that get their frames with it: a power of two from 4 KiB to 1 MiB. It is the
    /// read-ahead of the mount, and takes effect only for root.
    public var faultAround: UInt64 = 128 << 10
    /// Whether others than the one who mounts get in. Root always lets them, as with any other file system.
    public var allowOther = false
    /// Whether new buffers have huge pages; each may be told otherwise. Where it is not chosen, tracked ones have none, and
    /// direct ones those that lie within their size.
    public var huge: HugeMode?
    /// How new buffers are mapped; each may be told otherwise. What cannot be direct is tracked, and the log says so.
    public var mapping = MappingMode.tracked
    /// What automatic NUMA balancing does to begin with.
    public var balancing: BalancingMode = []
    /// Who may use the files below dev/.
    public var devices = DevicePermissions()
    /// How requests come from the kernel.
    public var transport = Transport.automatic
    /// What mount(8) and findmnt(8) show as the source.
    public var source = "cdmfs"
    /// How much users may take of what is scarce.
    public var limits = Limits()
    /// More mount options of the kernel: `ro`, `noatime`, ….
    public var kernel: [String] = []
    /// The threads that serve requests.
    public var workers = min(32, max(4, 2 * sysconf(Int32(_SC_NPROCESSORS_ONLN))))

    /// The defaults given at each property.
    public init() {}
}

/// Where the mount of a machine comes from.
public enum MountPlace: Sendable {
    /// It is made on an existing directory.
    case directory(FilePath)
    /// Another process has made it with an open `/dev/fuse`, which belongs to the mount from here on. `path` leads to it from
    /// this process's namespace.
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

    /// Makes a machine and mounts it; returns once the mount answers.
    ///
    /// - Throws: a ``MountFailure``; nothing is left mounted then.
    public init(
        _ topology: Topology, at place: MountPlace, options: FileSystemOptions = .init(), logger: Logger
    ) throws(MountFailure) {
        do throws(Errno) {
            machine = try Machine(topology: topology)
        } catch {
            throw MountFailure("the machine's memory cannot be reserved: \(error)")
        }
        fileSystem = CoherentFileSystem(
            machine: machine, hugeMode: options.huge, devices: options.devices, limits: options.limits,
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
                refusal.map { "transport=io_uring: the kernel refuses it: \($0)" }
                    ?? "\(place.path): unmounted before it answered")
        }
        if let refusal = session.ringFailure {
            logger.notice("requests come the classic way, for the kernel refuses io_uring: \(refusal)")
        }
        logger.debug("requests come by \(session.transport.rawValue)")
        fileSystem.services.direct.prepare(isDefault: options.mapping == .direct)
        fileSystem.services.pageCache.setWriteBack(WriteBack(session))
        machine.balancing.mode = options.balancing
        fileSystem.startBackgroundWork()
        if let group = MemoryGroup.own {
            machine.setHostLimit(pages: group.pages)
            logger.notice(
                "pages beyond \(group.pages * 4 >> 10) MiB get no frame, for the daemon's memory cgroup has no more")
        }
        let failures = session.tuneBackingDevice(readAheadKilobytes: Int(options.faultAround >> 10))
        if !failures.isEmpty {
            let list = failures.map(\.description).joined(separator: ", ")
            logger.notice("mapped stores will be slower, for the mount's backing device refuses \(list)")
        }
    }

    /// Readable once the mount is gone; it belongs to the mount.
    public var ended: FileDescriptor { session.endEvent }

    /// Unmounts what is still mounted and ends every thread. Call it once, on a thread of its own right.
    public func close() {
        // A job may wait for a page that a request holds; where nobody answers that, only the connection's end lets go.
        if !fileSystem.endJobs(within: 5) {
            try? session.abortConnection()
            _ = fileSystem.endJobs(within: 60)
        }
        session.close()
    }
}
