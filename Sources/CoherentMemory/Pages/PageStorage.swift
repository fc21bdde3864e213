import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// The bytes of all tracked pages: one sparse memfd.
///
/// Every table of a page table owns a stretch of it for as long as it lives, with a place for each of its 64 entries. So a
/// page stays where it is, whatever frame it gets, and its place follows from that of its entry. A page that was never stored
/// to is a hole: it reads as zeros and costs the host nothing.
///
/// The file is mapped in segments, as far as it was ever in use.
@safe
final class PageStorage: @unchecked Sendable {
    // Sendable: a segment is mapped under the lock of the table pool before a buffer gets a table in it, and stays; the bytes
    // are guarded by the locks of the buffers.

    /// The base-2 logarithm of the bytes of a table's pages.
    static let tableShift = Page.shift + UInt64(TablePool.entriesShift)
    private static let segmentShift: UInt64 = 32
    private static let segmentSize = UInt64(1) << segmentShift

    /// The file.
    let descriptor: FileDescriptor
    /// What stands for pages that were never stored to: ``zeroLength`` bytes. Filled once, for the kernel copies from pages of our
    /// own faster than from its shared zero page.
    let zeros: FlatMemory<UInt8>
    static let zeroLength = 2 << 20
    /// The addresses of the segments, 0 of those that are not mapped.
    private let segments: FlatMemory<UInt>

    init() throws(Errno) {
        zeros = try FlatMemory(count: Self.zeroLength)
        unsafe memset(zeros.base, 0, Self.zeroLength)
        segments = try FlatMemory(count: TablePool.capacity >> Int(Self.segmentShift - Self.tableShift))
        descriptor = FileDescriptor(
            rawValue: try SystemCall.check(unsafe memfd_create("cdmfs-pages", UInt32(MFD_CLOEXEC))))
    }

    deinit {
        for segment in 0..<segments.count where segments[segment] != 0 {
            unsafe munmap(UnsafeMutableRawPointer(bitPattern: segments[segment]), Int(Self.segmentSize))
        }
        close(descriptor.rawValue)
    }

    /// Maps the segment that a table's pages are in. The caller holds the lock of the table pool.
    func reserve(_ table: Int) throws(Errno) {
        let place = UInt64(table) << Self.tableShift
        let segment = Int(place >> Self.segmentShift)
        guard segments[segment] == 0 else { return }
        let start = UInt64(segment) << Self.segmentShift
        guard ftruncate(descriptor.rawValue, off_t(start + Self.segmentSize)) == 0,
            let address = unsafe mmap(
                nil, Int(Self.segmentSize), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor.rawValue,
                off_t(start)),
            unsafe address != MAP_FAILED
        else { throw .noMemory }
        // A child of the daemon (fusermount3) must not keep the memory alive.
        unsafe madvise(address, Int(Self.segmentSize), MADV_DONTFORK)
        segments[segment] = UInt(bitPattern: address)
    }

    /// The address of a byte, by its place in the file: those of one table's pages follow each other.
    func address(at place: UInt64) -> UnsafeMutableRawPointer {
        let segment = segments[Int(place >> Self.segmentShift)]
        assert(segment != 0)
        return unsafe UnsafeMutableRawPointer(bitPattern: segment + UInt(place & (Self.segmentSize - 1)))!
    }

    /// Whether the address of a place does not follow that of the byte before it.
    static func isSegmentStart(_ place: UInt64) -> Bool { place & (segmentSize - 1) == 0 }

    /// Stores bytes into pages that are holes.
    ///
    /// By a call, not through the mapping: there each fresh page costs a fault and is zeroed before it is filled.
    func fill(_ place: UInt64, with bytes: UnsafeRawBufferPointer) {
        var done = 0
        while done < bytes.count {
            let stored = unsafe pwrite(
                descriptor.rawValue, bytes.baseAddress! + done, bytes.count - done, off_t(place) + done)
            guard stored > 0 else { break }
            done += stored
        }
        if done < bytes.count {
            unsafe memcpy(address(at: place) + done, bytes.baseAddress! + done, bytes.count - done)
        }
    }

    /// Stores bytes into pages, which is faster than ``fill(_:with:)`` where they were stored to before.
    func store(_ bytes: UnsafeRawBufferPointer, at place: UInt64) {
        guard let source = bytes.baseAddress else { return }
        let target = unsafe address(at: place)
        let offset = Int(place & (Page.size - 1))
        // A load has the host map the pages around, too; a store would have it map one after the other.
        unsafe clinux_load_pages(target - offset, Page.count(of: UInt64(offset + bytes.count)))
        unsafe memcpy(target, source, bytes.count)
    }

    /// Makes pages holes again: zeros for the next owner of their place, and nothing to the host.
    func punch(_ places: Range<UInt64>) {
        let result = fallocate(
            descriptor.rawValue, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off_t(places.lowerBound),
            off_t(places.count))
        if result == 0 { return }
        // No host refuses this for a memfd; zeros must not depend on it all the same.
        for place in stride(from: places.lowerBound, to: places.upperBound, by: Int(Page.size)) {
            unsafe memset(address(at: place), 0, Int(Page.size))
        }
    }

    /// How many pages are no holes and meet a condition, which gets their places; for checks.
    func strayPages(_ isStray: (UInt64) -> Bool) -> Int {
        var count = 0
        descriptor.forEachData(in: 0..<UInt64(TablePool.capacity) << Self.tableShift) { data in
            for place in stride(from: data.lowerBound, to: data.upperBound, by: Int(Page.size)) where isStray(place) {
                count += 1
            }
        }
        return count
    }

    /// Makes pages of a table holes again.
    ///
    /// - Parameter slots: which of them, a bit for each.
    func punch(_ slots: UInt64, of table: UInt32) {
        let start = UInt64(table) << Self.tableShift
        var rest = slots
        while rest != 0 {
            let first = UInt64(rest.trailingZeroBitCount)
            let count = UInt64((~(rest >> first)).trailingZeroBitCount)
            punch(start + first << Page.shift..<start + (first + count) << Page.shift)
            rest = first + count >= 64 ? 0 : rest & ~0 << (first + count)
        }
    }
}

/// Pages that are to be holes again, gathered table by table.
///
/// Must be punched before the buffer's lock is given up.
struct StorageHoles: ~Copyable {
    private let tables: TablePool
    private var table: UInt32 = 0
    private var slots: UInt64 = 0

    init(in tables: TablePool) { self.tables = tables }

    /// Adds the page of an entry.
    mutating func add(_ entry: UnsafeMutablePointer<UInt64>) {
        let (table, slot) = unsafe tables.slot(of: entry)
        if table != self.table { punch() }
        self.table = table
        slots |= 1 << UInt64(slot)
    }

    /// Punches what is gathered.
    mutating func punch() {
        if slots != 0 { tables.punch(slots, of: table) }
        slots = 0
    }
}
