import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// Zero-filled memory of a fixed size that costs nothing until it is touched.
///
/// The simulation's tables are as large as the largest machine needs; the host backs only what is used.
@safe
struct FlatMemory<Element: BitwiseCopyable>: ~Copyable, @unchecked Sendable {
    // Sendable because it is only an address: its owner brings the lock.
    let base: UnsafeMutablePointer<Element>
    let count: Int

    init(count: Int) throws(Errno) {
        let bytes = max(1, count) * MemoryLayout<Element>.stride
        let address = unsafe mmap(
            nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let address = unsafe address, unsafe address != MAP_FAILED else { throw Errno.last }
        unsafe base = address.bindMemory(to: Element.self, capacity: max(1, count))
        self.count = count
    }

    deinit {
        unsafe munmap(base, max(1, count) * MemoryLayout<Element>.stride)
    }

    subscript(index: Int) -> Element {
        get {
            assert(index >= 0 && index < count)
            return unsafe base[index]
        }
        nonmutating set {
            assert(index >= 0 && index < count)
            unsafe base[index] = newValue
        }
    }

    /// Gives the host's pages under `range` back; they read as zeros again. Whole host pages only.
    func giveBack(_ range: Range<Int>) {
        let stride = MemoryLayout<Element>.stride
        let size = Int(Page.size)
        let start = (range.lowerBound * stride + size - 1) / size * size
        let end = range.upperBound * stride / size * size
        guard start < end else { return }
        unsafe madvise(UnsafeMutableRawPointer(base) + start, end - start, MADV_DONTNEED)
    }
}

extension FlatMemory where Element: FixedWidthInteger {
    /// Adds to an element. Not by `+=`, which the thread sanitizer takes for a change of the whole memory, and which
    /// in a noncopyable struct breaks its build (Swift 6.3).
    func add(_ delta: Int, at index: Int) { self[index] = Element(Int(self[index]) + delta) }
}

extension FlatMemory {
    fileprivate func atomic(_ index: Int) -> UnsafeMutablePointer<Atomic<Element>> where Element: AtomicRepresentable {
        assert(index >= 0 && index < count)
        return unsafe UnsafeMutableRawPointer(base + index).assumingMemoryBound(to: Atomic<Element>.self)
    }
}

extension FlatMemory<UInt32> {
    /// Reads an element that another thread may be writing.
    func load(_ index: Int) -> UInt32 { unsafe atomic(index).pointee.load(ordering: .acquiring) }

    /// Writes an element that another thread may be reading.
    func store(_ value: UInt32, at index: Int) { unsafe atomic(index).pointee.store(value, ordering: .releasing) }

    /// Adds to an element that others may be changing, wrapping around. What it is then.
    func adding(_ value: UInt32, at index: Int) -> UInt32 {
        unsafe atomic(index).pointee.wrappingAdd(value, ordering: .acquiringAndReleasing).newValue
    }

    /// Sets bits of an element that others may be changing, and returns what it was before.
    func insert(_ bits: UInt32, at index: Int) -> UInt32 {
        unsafe atomic(index).pointee.bitwiseOr(bits, ordering: .acquiringAndReleasing).oldValue
    }
}

extension FlatMemory<UInt64> {
    /// Reads an element that another thread may be writing.
    func load(_ index: Int) -> UInt64 { unsafe atomic(index).pointee.load(ordering: .acquiring) }

    /// Writes an element that another thread may be reading.
    func store(_ value: UInt64, at index: Int) { unsafe atomic(index).pointee.store(value, ordering: .releasing) }
}
