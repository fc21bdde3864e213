import CoherentMemory
import Fuse
import Logging
import SystemPackage

/// The kernel's page cache, as the machine sees it.
final class PageCache: MappingInvalidator {
    private let notifier: Notifier
    private let logger: Logger
    private let inodes = Mutex<[Buffer.ID: InodeNumber]>([:])

    init(notifier: Notifier, logger: Logger) {
        self.notifier = notifier
        self.logger = logger
    }

    func register(_ file: MemoryFile) { inodes.withLock { $0[file.buffer.id] = file.number } }

    func unregister(_ file: MemoryFile) { inodes.withLock { _ = $0.removeValue(forKey: file.buffer.id) } }

    func invalidate(_ buffer: Buffer, pages: Range<UInt64>) {
        guard let inode = inodes.withLock({ $0[buffer.id] }), !pages.isEmpty else { return }
        do throws(Errno) {
            _ = try notifier.invalidate(
                inode, offset: Int64(pages.lowerBound << Page.shift), length: Int64(pages.count) << Int64(Page.shift))
        } catch {
            // The mount is going: then nothing is mapped any more.
            logger.debug("invalidating inode \(inode.rawValue): \(error)")
        }
    }
}
