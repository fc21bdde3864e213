import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// The bytes of a buffer in a file of its own rather than in the storage of page tables, so that programs can map that
/// file: the byte at an offset of the buffer is at the same offset of the file.
///
/// When a buffer has it, everything except ``descriptor`` is guarded by the lock of that buffer.
@safe
public final class BackingFile: @unchecked Sendable {
    // Unchecked: the lock of the buffer guards what changes.

    /// The file, for mapping it. Only this class changes its size and pages.
    public let descriptor: FileDescriptor
    /// nil for a file whose withheld pages the host lets programs touch.
    private let tmpfs: PrivateTmpfs?
    /// Bytes.
    private(set) var size: UInt64 = 0
    private var base: UnsafeMutableRawPointer?
    private var capacity = 0
    /// Pages that no program can touch.
    var withheld = RangeSet<UInt64>()
    private var isHuge: Bool
    /// Whether every page that is not withheld has a block.
    var isFull = false
    /// The file's mtime, as it was known last.
    private var knownTime = timespec()
    /// When a program stored through a mapping, as far as that was not yet reported.
    private var storeTime: timespec?

    /// A file without bytes, on a tmpfs of its own.
    ///
    /// - Parameter isHuge: whether the host backs it with huge pages within its size.
    /// - Throws: EPERM without CAP_SYS_ADMIN, ENODEV and ENOSYS if the host does not support it, EMFILE.
    public init(isHuge: Bool) throws(Errno) {
        let tmpfs = try PrivateTmpfs(isHuge: isHuge)
        descriptor = try tmpfs.make("bytes")
        self.tmpfs = tmpfs
        self.isHuge = isHuge
    }

    /// A file without bytes that needs no privilege. That pages are withheld only the machine knows, then.
    init(anonymous name: String) throws(Errno) {
        descriptor = FileDescriptor(
            rawValue: try SystemCall.check(unsafe memfd_create(name, UInt32(MFD_CLOEXEC))))
        tmpfs = nil
        isHuge = false
    }

    deinit {
        if let base = unsafe base { unsafe munmap(base, capacity) }
        close(descriptor.rawValue)
    }

    /// When a program last stored to a page through a mapping, if it has since this was asked last. As of tmpfs, that is known of
    /// the first store to a page through a mapping (fault_dirty_shared_page() in mm/memory.c).
    func takeStoreTime() -> timespec? {
        noteTime()
        defer { storeTime = nil }
        return storeTime
    }

    /// Does what changes the file's mtime without a program's having stored.
    func keepingTime<Result>(_ body: () throws(Errno) -> Result) throws(Errno) -> Result {
        noteTime()
        let time = storeTime
        defer {
            noteTime()
            storeTime = time
        }
        return try body()
    }

    private func noteTime() {
        var status = Glibc.stat()
        guard unsafe fstat(descriptor.rawValue, &status) == 0 else { return }
        let time = status.st_mtim
        guard (time.tv_sec, time.tv_nsec) != (knownTime.tv_sec, knownTime.tv_nsec) else { return }
        knownTime = time
        storeTime = time
    }

    /// The address of a byte that the file has, until the size changes.
    func address(of offset: UInt64) -> UnsafeMutableRawPointer {
        assert(offset < Page.count(of: size) << Page.shift)
        return unsafe base! + Int(offset)
    }

    /// Reads bytes that the file has. By a call, not through the mapping: who maps the file may have taken a page's block
    /// away, and a touch of that would be the end of this process.
    func read(into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(Errno) {
        let count = try SystemCall.transfer(bytes.count) { done in
            unsafe pread(descriptor.rawValue, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + done)
        }
        guard count == bytes.count else { throw .ioError }
    }

    /// Stores bytes where the file has some, and none are withheld; also by a call.
    ///
    /// - Throws: ENOSPC where the host has no memory for them.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
        var isClaimed = false
        while true {
            do throws(Errno) {
                let count = try SystemCall.transfer(bytes.count) { done in
                    unsafe pwrite(
                        descriptor.rawValue, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + done)
                }
                guard count == bytes.count else { throw .noSpace }
                return
            } catch {
                guard error == .noSpace, !isClaimed else { throw error }
                try claim(offset..<offset + UInt64(bytes.count))
                isClaimed = true
            }
        }
    }

    /// Whether the host is to back it with huge pages from now on.
    func setHuge(_ isHuge: Bool) throws(Errno) {
        guard isHuge != self.isHuge else { return }
        try tmpfs?.setHuge(isHuge)
        self.isHuge = isHuge
    }

    /// Changes the size. What is new reads as zeros; touching what is cut off is SIGBUS in every mapping.
    ///
    /// - Throws: ENOMEM where the host has no room in its address space, ENOSPC where it has no memory for a file of which
    ///   pages are withheld, EMFILE without a descriptor left; never for a smaller size.
    func resize(to newSize: UInt64) throws(Errno) {
        if newSize > size {
            try reserve(newSize)
            // To ask the tmpfs takes longer than all else about a small append.
            let pages = Page.count(of: newSize)
            if withheld.isEmpty, pages > Page.count(of: size) { try allow(pages) }
        }
        try SystemCall.check(ftruncate(descriptor.rawValue, off_t(newSize)))
        let old = size
        size = newSize
        if newSize > old {
            isFull = false
            guard !withheld.isEmpty else { return }
            do throws(Errno) {
                try fill()
            } catch {
                ftruncate(descriptor.rawValue, off_t(old))
                size = old
                throw error
            }
        } else {
            withheld.remove(contentsOf: Page.count(of: newSize)..<UInt64.max)
            // What is still in use, for another part of the host holds it, goes later.
            try? setLimit(limit)
        }
    }

    /// Sees to it that so many pages may have a block: touching one that may not is SIGBUS, for this process, too.
    private func allow(_ pages: UInt64) throws(Errno) {
        do throws(Errno) {
            try setLimit(pages)
        } catch .invalidArgument {
            // What another part of the host holds still counts, and the limit is as high as that.
        }
    }

    /// Sets how many pages may have a block. EINVAL where more have one.
    func setLimit(_ pages: UInt64) throws(Errno) { try tmpfs?.setLimit(pages) }

    /// How many pages may have a block.
    var limit: UInt64 { Page.count(of: size) - withheldCount }

    var withheldCount: UInt64 { withheld.ranges.reduce(0) { $0 + UInt64($1.count) } }

    /// Sees to it that the first `bytes` have addresses. Twice as many as before, for growing is often done in steps.
    private func reserve(_ bytes: UInt64) throws(Errno) {
        guard bytes > UInt64(capacity) else { return }
        let wanted = max(bytes, min(2 * UInt64(capacity), UInt64(capacity) + 1 << 30), HugePage.size)
        let length = Int((wanted + HugePage.size - 1) / HugePage.size * HugePage.size)
        guard
            let address = unsafe mmap(
                nil, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor.rawValue, 0),
            unsafe address != MAP_FAILED
        else { throw Errno.last }
        unsafe madvise(address, length, MADV_DONTFORK)
        if let base = unsafe base { unsafe munmap(base, capacity) }
        unsafe base = address
        capacity = length
    }

    /// Zeroes bytes, as far as the file has them, and gives the host's memory for them back.
    func zero(_ bytes: Range<UInt64>) {
        let bytes = bytes.clamped(to: 0..<size)
        guard !bytes.isEmpty else { return }
        guard withheld.isEmpty else {
            // A hole would leave a block for a withheld page.
            let pages = bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound)
            for range in RangeSet(pages).subtracting(withheld).ranges {
                let part = (range.lowerBound << Page.shift..<range.upperBound << Page.shift).clamped(to: bytes)
                clear(part)
            }
            return
        }
        isFull = false
        if !punch(bytes) { clear(bytes) }
    }

    private func clear(_ bytes: Range<UInt64>) {
        let zeros = [UInt8](repeating: 0, count: min(bytes.count, 64 << 10))
        unsafe zeros.withUnsafeBytes { zeros in
            var offset = bytes.lowerBound
            while offset < bytes.upperBound {
                let count = min(zeros.count, Int(bytes.upperBound - offset))
                // What has no block, and gets none, is zero.
                try? unsafe write(UnsafeRawBufferPointer(rebasing: zeros[..<count]), at: offset)
                offset += UInt64(count)
            }
        }
    }

    func punch(_ bytes: Range<UInt64>) -> Bool {
        let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
        return fallocate(descriptor.rawValue, mode, off_t(bytes.lowerBound), off_t(bytes.count)) == 0
    }

    /// The first byte at or behind `offset` of a page that was ever touched; nil when there is none.
    func nextData(from offset: UInt64) -> UInt64? {
        let found = lseek(descriptor.rawValue, off_t(offset), SEEK_DATA)
        return found < 0 ? nil : UInt64(found)
    }

    /// The first byte at or behind `offset` of a page that was never touched, or the end.
    func nextHole(from offset: UInt64) -> UInt64 {
        let found = lseek(descriptor.rawValue, off_t(offset), SEEK_HOLE)
        return found < 0 ? size : UInt64(found)
    }

    /// Calls `body` with the ranges of a range of bytes whose pages were ever touched.
    func forEachData(in bytes: Range<UInt64>, _ body: (Range<UInt64>) -> Void) {
        descriptor.forEachData(in: bytes, body)
    }
}
