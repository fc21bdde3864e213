import Synchronization
import SystemPackage

/// The tables that all page tables are made of: 64 entries each, as in Linux's xarray.
///
/// Small tables keep a buffer of one page cheap; flat memory lets a frame name its table in four bytes.
@safe
final class TablePool: @unchecked Sendable {
    // Sendable: `state` hands tables out; a table's entries are guarded by the lock of the buffer that owns it.

    static let entriesShift = 6
    static let entries = 1 << entriesShift
    /// 2²⁶ tables map 16 TiB page by page.
    static let capacity = 1 << 26

    private struct State: ~Copyable {
        var recycled: IndexSet64
        var next = 1
    }

    private let state: Mutex<State>
    private let memory: FlatMemory<UInt64>
    private let owners: FlatMemory<UInt64>
    private let bases: FlatMemory<UInt64>
    private let counts: FlatMemory<UInt16>

    init() throws(Errno) {
        state = Mutex(State(recycled: try IndexSet64(capacity: Self.capacity)))
        memory = try FlatMemory(count: Self.capacity << Self.entriesShift)
        owners = try FlatMemory(count: Self.capacity)
        bases = try FlatMemory(count: Self.capacity)
        counts = try FlatMemory(count: Self.capacity)
    }

    /// Takes an empty table for a buffer, whose first entry stands for page `base`. Never 0.
    func allocate(owner: UInt64, base: UInt64) throws(Errno) -> UInt32 {
        let table = state.withLock { state -> Int? in
            if let table = state.recycled.first() {
                state.recycled.remove(table)
                return table
            }
            guard state.next < Self.capacity else { return nil }
            state.next += 1
            return state.next - 1
        }
        guard let table else { throw .noMemory }
        owners.store(owner, at: table)
        bases.store(base, at: table)
        return UInt32(table)
    }

    /// Takes an empty table back.
    func release(_ table: UInt32) {
        assert(counts[Int(table)] == 0)
        owners.store(0, at: Int(table))
        state.withLock { state in
            state.recycled.insert(Int(table))
            // Eight tables share a page of the host; the last one to leave gives it back.
            let group = Int(table) & ~7
            for other in group..<group + 8 where !state.recycled.contains(other) { return }
            memory.giveBack(group << Self.entriesShift..<(group + 8) << Self.entriesShift)
        }
    }

    /// The entries of a table. The caller holds the lock of the buffer that owns it.
    func entries(of table: UInt32) -> UnsafeMutablePointer<UInt64> {
        unsafe memory.base + Int(table) << Self.entriesShift
    }

    /// The buffer that a table belongs to (0: none) and its first page; a hint unless that buffer's lock is held.
    func location(of table: UInt32) -> (owner: UInt64, base: UInt64) {
        (owners.load(Int(table)), bases.load(Int(table)))
    }

    /// How many entries of a table are in use.
    func count(of table: UInt32) -> Int { Int(counts[Int(table)]) }

    func addCount(_ delta: Int, to table: UInt32) { counts.add(delta, at: Int(table)) }

    /// Tables in use by all buffers.
    var inUse: Int { state.withLock { $0.next - 1 - $0.recycled.count } }
}
