import CoherentMemory
import CoherentTree
import Fuse
import LinuxSupport
import Logging
import Synchronization
import SystemPackage

/// What the kernel's page cache is told about a file.
final class CachedFile: Sendable {
    let number: InodeNumber
    /// How many open files may write to it. Without one it has no dirty page, for the kernel writes back what a mapping
    /// leaves behind.
    let writers = Atomic(0)
    /// Whether its pages are pinned, for those who do not have its use.
    let isPinned = Atomic(false)
    /// Who has it open.
    let use: Mutex<FileUse>

    init(_ number: InodeNumber, owner: UInt32) {
        self.number = number
        use = Mutex(FileUse(owner: owner))
    }
}

/// The kernel's page cache, as the machine sees it.
final class PageCache: MappingInvalidator {
    private let notifier: Notifier
    private let logger: Logger
    private let files = Mutex(IDTable<CachedFile>())
    private let bulk = Mutex<WriteBack?>(nil)
    /// Who has the memory of programs, of which the page cache has nothing.
    private let programs = Mutex(WeakPrograms())

    init(notifier: Notifier, logger: Logger) {
        self.notifier = notifier
        self.logger = logger
    }

    func register(_ file: CachedFile, as buffer: Buffer) { files.withLock { $0[buffer.id] = file } }

    /// What is registered as a buffer.
    func file(of buffer: Buffer) -> CachedFile? { files.withLock { $0[buffer.id] } }

    func unregister(_ buffer: Buffer) { _ = files.withLock { $0.remove(buffer.id) } }

    /// Lets dirty pages be written back in bulk.
    func setWriteBack(_ writeBack: WriteBack?) { bulk.withLock { $0 = writeBack } }

    /// Has pages of programs taken away from these.
    func setPrograms(_ programs: MountedPrograms) { self.programs.withLock { $0.programs = programs } }

    func invalidate(_ buffer: Buffer, pages: Range<UInt64>) {
        let programs = programs.withLock { $0.programs }
        // An offset has 63 bits.
        let bytes = min(pages.lowerBound, 1 << 51) << Page.shift..<min(pages.upperBound, 1 << 51) << Page.shift
        if buffer.isAnonymous {
            // Only failed pages are ever asked for: others are not in the page cache.
            programs?.takeFailed(buffer, bytes: bytes)
            return
        }
        if buffer.backing != nil { programs?.watchFailures(of: buffer, bytes: bytes) }
        guard let inode = files.withLock({ $0[buffer.id] })?.number, !pages.isEmpty else { return }
        do throws(Errno) {
            _ = try notifier.invalidate(
                inode, offset: Int64(pages.lowerBound << Page.shift), length: Int64(pages.count) << Int64(Page.shift))
        } catch {
            // The mount is going: then nothing is mapped any more.
            logger.debug("cannot invalidate inode \(inode.rawValue): \(error)")
        }
    }

    func use(of space: Buffer, pages: [Range<UInt64>]) -> ProgramUse? {
        programs.withLock { $0.programs }?.use(of: space, pages: pages)
    }

    /// So many files are looked at by who asks for all.
    private static let limit = 1 << 16

    /// The threads that have files open.
    var openers: Set<Int32> {
        let files = files.withLock { Array($0.elements.prefix(Self.limit)) }
        return files.reduce(into: []) { all, file in all.formUnion(file.use.withLock { $0.openers.keys }) }
    }

    func writeBack(_ buffer: Buffer, pages: Range<UInt64>, next: Range<UInt64>) {
        guard let file = files.withLock({ $0[buffer.id] }), !pages.isEmpty,
            file.writers.load(ordering: .relaxed) > 0, let writeBack = bulk.withLock({ $0 })
        else { return }
        do throws(Errno) {
            try writeBack.write(file.number, bytes(of: pages), starting: bytes(of: next))
        } catch {
            // The invalidation does it, more slowly; where it is not allowed, it will not be later.
            if error == .notPermitted { setWriteBack(nil) }
            logger.debug("cannot write back inode \(file.number.rawValue) in bulk: \(error)")
        }
    }

    private func bytes(of pages: Range<UInt64>) -> Range<Int64> {
        // The last page of the longest file ends a byte behind the largest offset, and what comes next lies behind that.
        Int64(clamping: pages.lowerBound << Page.shift)..<Int64(clamping: pages.upperBound << Page.shift)
    }
}
