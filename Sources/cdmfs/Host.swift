import CoherentFS
import CoherentMemory
import Logging
import SystemPackage

/// The mounted file system, as the command sees it. The only file here that knows what is behind it.
final class Host {
    private let mounted: MountedFileSystem

    /// Mounts a machine; returns once the mount answers.
    init(
        _ topology: Topology, at mountPoint: String, options words: MountWords, logger: Logger
    ) throws(Failure) {
        var options = FileSystemOptions()
        options.faultAround = words.faultAround
        options.allowOther = words.allowOther
        options.huge = words.huge
        options.mapping = words.mapping
        options.balancing = words.balancing
        options.transport = words.transport
        options.kernel = words.kernel
        if let source = words.source { options.source = source }
        do throws(MountFailure) {
            mounted = try MountedFileSystem(topology, at: FilePath(mountPoint), options: options, logger: logger)
        } catch {
            throw Failure(.mount, "mount: \(error)")
        }
    }

    /// Readable once the mount is gone.
    var ended: FileDescriptor { mounted.ended }

    /// Unmounts what is still mounted and ends every thread.
    func close() { mounted.close() }
}
