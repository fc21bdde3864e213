import CoherentFS
import CoherentMemory
import Fuse
import LinuxSupport
import Logging
import MachineTopology
import SystemPackage

/// The mounted file system, as the command sees it. The only file here that knows what is behind it.
final class ServedMount {
    /// Where the mount comes from.
    enum Place {
        /// It is made on this directory.
        case directory(String)
        /// Another process has made it on this path of its namespace.
        case made(MadeMount, at: String)
    }

    private let mounted: MountedFileSystem

    /// Mounts a machine; returns once the mount answers.
    init(
        _ topology: Topology, at place: Place, options words: MountWords, logger: Logger
    ) throws(Failure) {
        var options = FileSystemOptions()
        options.faultAround = words.faultAround
        options.allowOther = words.allowOther
        options.huge = words.huge
        options.mapping = words.mapping
        options.balancing = words.balancing
        options.tellsFailures = words.tellsFailures
        options.devices = words.devices
        options.transport = words.transport
        options.limits = words.limits
        options.kernel = words.kernel
        if let source = words.source { options.source = source }
        do throws(MountFailure) {
            mounted = try MountedFileSystem(topology, at: Self.place(place), options: options, logger: logger)
        } catch {
            throw Failure(.mount, "mount: \(error)")
        }
    }

    private static func place(_ place: Place) -> MountPlace {
        switch place {
        case .directory(let path):
            return .directory(FilePath(path))
        case .made(let mount, let path):
            // The process that has made it becomes the command: its root shows the mount as long as that runs.
            let seen = FilePath("/proc/\(mount.process)/root").appending(FilePath(path).components)
            return .made(with: mount.device, number: DeviceNumber(major: 0, minor: mount.minor), path: seen)
        }
    }

    /// Readable once the mount is gone.
    var ended: FileDescriptor { mounted.ended }

    /// Unmounts what is still mounted and ends every thread.
    func close() { mounted.close() }
}
