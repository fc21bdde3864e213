import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// The tables that all page tables are made of: 64 entries each, as in Linux's xarray, and the bytes of the pages that these
/// stand for.
///
/// Small tables keep a buffer of one page cheap; flat memory lets a frame name its table in four bytes.
@safe
final class TablePool: @unchecked Sendable {
    // Sendable: `state` hands tables out; a table's entries are guarded by the lock of the buffer that owns it.

    static let entriesShift = 6
    static let entries = 1 << entriesShift
    /// 2²⁶ tables map 16 TiB page by page.
    static let capacity = 1 << 26

    /// The place of a page's entry in its leaf.
    @inline(__always)
    static func slot(of page: UInt64) -> Int { Int(page & UInt64(entries - 1)) }
    /// The first page behind those of a page's leaf.
    @inline(__always)
    static func leafEnd(of page: UInt64) -> UInt64 { (page | UInt64(entries - 1)) + 1 }
    private struct State: ~Copyable {
        var recycled: IndexSet64
        var next = 1
        /// Tables without an owner, whose pages are yet to be punched.
        var emptied: [UInt32] = []
    }

    /// What becomes of the table when the last reply that reads from its pages is out: above the number of these.
    private static let released: UInt32 = 1 << 31
    private static let hasBytes: UInt32 = 1 << 30

    /// The nodes that frames are of.
    let nodes: NodeMap
    /// Where the bytes are.
    let storage: PageStorage
    /// Whether the bytes are what programs stored; else what was stored to is taken for something else than zeros.
    let hasContents = Atomic(true)
    private let state: Mutex<State>
    private let memory: FlatMemory<UInt64>
    private let owners: FlatMemory<UInt64>
    private let bases: FlatMemory<UInt64>
    private let counts: FlatMemory<UInt16>
    private let readers: FlatMemory<UInt32>
    /// A place among the nodes and one more; 0 for `mixed`.
    private let homes: FlatMemory<UInt16>

    init(_ nodes: NodeMap) throws(Errno) {
        self.nodes = nodes
        storage = try PageStorage()
        state = Mutex(State(recycled: try IndexSet64(capacity: Self.capacity)))
        memory = try FlatMemory(count: Self.capacity << Self.entriesShift)
        owners = try FlatMemory(count: Self.capacity)
        bases = try FlatMemory(count: Self.capacity)
        counts = try FlatMemory(count: Self.capacity)
        readers = try FlatMemory(count: Self.capacity)
        homes = try FlatMemory(count: Self.capacity)
    }

    /// Takes an empty table for a buffer, whose first entry stands for page `base`, with all its pages holes. Never 0.
    func allocate(owner: UInt64, base: UInt64) throws(Errno) -> UInt32 {
        let table = try state.withLock { state throws(Errno) -> Int in
            if let table = state.recycled.first() {
                state.recycled.remove(table)
                return table
            }
            guard state.next < Self.capacity else { throw .noMemory }
            try storage.reserve(state.next)
            state.next += 1
            return state.next - 1
        }
        owners.store(owner, at: table)
        bases.store(base, at: table)
        return UInt32(table)
    }

    /// Takes an empty table back. The caller holds the lock of the buffer that owns it.
    ///
    /// - Parameter hasBytes: whether any of its pages may be no hole. Then it has no owner until ``punchEmptied()``, and in any
    ///   case until the last reply is out that reads from its pages.
    func release(_ table: UInt32, hasBytes: Bool) {
        assert(counts[Int(table)] == 0)
        owners.store(0, at: Int(table))
        let before = readers.insert(hasBytes ? Self.released | Self.hasBytes : Self.released, at: Int(table))
        if before & ~Self.hasBytes == 0 { putBack(table, hasBytes: hasBytes || before != 0) }
    }

    /// Makes pages of a table holes again that its owner has no more. The caller holds that one's lock.
    ///
    /// - Parameter slots: which of them, a bit for each.
    func punch(_ slots: UInt64, of table: UInt32) {
        storage.punch(slots, of: table)
        // A read that is still under way makes pages of zeros of the holes, which go with the table.
        if isRead(table) { _ = readers.insert(Self.hasBytes, at: Int(table)) }
    }

    /// Keeps the bytes of a table's pages from being another's while a reply reads them. The caller holds the lock of the
    /// buffer that owns it.
    func beginReading(_ table: UInt32) { _ = readers.adding(1, at: Int(table)) }

    /// Undoes ``beginReading(_:)``, with no lock held.
    func endReading(_ table: UInt32) {
        let left = readers.adding(.max, at: Int(table))
        if left & ~Self.hasBytes == Self.released {
            putBack(table, hasBytes: left & Self.hasBytes != 0)
            punchEmptied()
        }
    }

    /// Whether a reply reads from the pages of a table.
    func isRead(_ table: UInt32) -> Bool { readers.load(Int(table)) & ~Self.hasBytes != 0 }

    /// Whether pages of a table may be no holes though nothing has stored to them.
    func hasZeros(_ table: UInt32) -> Bool { readers.load(Int(table)) & Self.hasBytes != 0 }

    private func putBack(_ table: UInt32, hasBytes: Bool) {
        readers.store(0, at: Int(table))
        state.withLock { state in
            if hasBytes { state.emptied.append(table) } else { recycle(table, &state) }
        }
    }

    private func recycle(_ table: UInt32, _ state: inout State) {
        state.recycled.insert(Int(table))
        // Eight tables share a page of the host; the last one to leave gives it back.
        let group = Int(table) & ~7
        for other in group..<group + 8 where !state.recycled.contains(other) { return }
        memory.giveBack(group << Self.entriesShift..<(group + 8) << Self.entriesShift)
    }

    /// Gives the memory of pages back whose tables have no owner any more. To be called after pages are taken out of buffers, without
    /// their locks: it is a call to the host's file system, and one for many tables is much faster than many.
    func punchEmptied() {
        let tables = state.withLock { state in
            let tables = state.emptied
            state.emptied.removeAll()
            return tables
        }.sorted()
        var place = 0
        while place < tables.count {
            var end = place + 1
            while end < tables.count, tables[end] == tables[end - 1] + 1 { end += 1 }
            let start = UInt64(tables[place]) << PageStorage.tableShift
            storage.punch(start..<start + UInt64(end - place) << PageStorage.tableShift)
            place = end
        }
        guard !tables.isEmpty else { return }
        state.withLock { state in for table in tables { recycle(table, &state) } }
    }

    /// The entries of a table. The caller holds the lock of the buffer that owns it.
    func entries(of table: UInt32) -> UnsafeMutablePointer<UInt64> {
        unsafe memory.base + Int(table) << Self.entriesShift
    }

    /// The table that an entry is in, and its place there.
    func slot(of entry: UnsafeMutablePointer<UInt64>) -> (table: UInt32, slot: Int) {
        let index = unsafe entry - memory.base
        return (UInt32(index >> Self.entriesShift), index & (Self.entries - 1))
    }

    /// The place in the storage of the page that an entry stands for.
    func place(of entry: UnsafeMutablePointer<UInt64>) -> UInt64 { unsafe UInt64(entry - memory.base) << Page.shift }

    /// The bytes of the page that an entry stands for.
    func address(of entry: UnsafeMutablePointer<UInt64>) -> UnsafeMutableRawPointer {
        unsafe storage.address(at: place(of: entry))
    }

    /// Whether the page of an entry reads as zeros.
    func isZero(_ entry: UnsafeMutablePointer<UInt64>) -> Bool {
        guard PageTableEntry(rawValue: unsafe entry.pointee).isWritten else { return true }
        guard hasContents.load(ordering: .relaxed) else { return false }
        return unsafe memcmp(address(of: entry), storage.zeros.base, Int(Page.size)) == 0
    }
    /// The buffer that a table belongs to (0: none) and its first page; a hint unless that buffer's lock is held.
    func location(of table: UInt32) -> (owner: UInt64, base: UInt64) {
        (owners.load(Int(table)), bases.load(Int(table)))
    }

    /// How many entries of a table are in use.
    func count(of table: UInt32) -> Int { Int(counts[Int(table)]) }

    func addCount(_ delta: Int, to table: UInt32) { counts.add(delta, at: Int(table)) }

    /// What the host was told of the pages of a table; the file keeps it when the table gets another owner.
    func home(of table: UInt32) -> TableHome { homes[Int(table)] == 0 ? .mixed : .node(Int(homes[Int(table)]) - 1) }

    func setHome(_ home: TableHome, of table: UInt32) {
        if case .node(let node) = home { homes[Int(table)] = UInt16(node + 1) } else { homes[Int(table)] = 0 }
    }

    /// Tables in use by all buffers.
    var inUse: Int { state.withLock { $0.next - 1 - $0.recycled.count } }
}

/// What the host was told of the bytes of a table's pages.
enum TableHome: Equatable {
    /// No pages, or pages of more than one kind.
    case mixed
    /// Pages that belong to one node, by its index.
    case node(Int)
}
