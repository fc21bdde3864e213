import LinuxSupport
import Synchronization
import SystemPackage

/// Consecutive pages of a buffer on one node, consecutive in physical memory, and in the same condition.
public struct PageRun: Sendable, Hashable {
    /// The offset in the buffer in bytes.
    public var offset: UInt64
    /// The length in bytes.
    public var length: UInt64
    /// The id of the node.
    public var node: Int
    /// The physical address of the first byte.
    public var physicalAddress: UInt64
    /// Whether the pages were stored to.
    public var isDirty: Bool
    /// Whether the pages are parts of huge pages.
    public var isHuge: Bool
    /// Whether the pages cannot move.
    public var isPinned: Bool
    /// Whether a migration is about to copy the pages.
    public var isMigrating: Bool
    /// Whether the pages' memory failed: they have no frame, and the address is that of their last one.
    public var isPoisoned = false
    /// The same, because their node was removed with its device.
    public var isLost = false
}

/// The resident pages of a range of a buffer.
public struct ResidentPages: Sendable, Hashable {
    /// Pages that were stored to.
    public var written = 0
    /// Pages on each node, ascending by node id; nodes without pages are left out.
    public var nodes: [(node: Int, pages: Int)] { counts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }
    /// The number of pages that have a frame.
    public var total: Int { counts.values.reduce(0, +) }

    fileprivate var counts: [Int: Int] = [:]
}

extension Machine {
    /// The resident pages of a range of a buffer, in bytes, widened to whole pages.
    public func residentPages(of buffer: Buffer, bytes: Range<UInt64>) -> ResidentPages {
        var result = ResidentPages()
        forEachPage(of: buffer, in: bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound)) { _, entry in
            result.counts[node(of: entry.pfn).id, default: 0] += 1
            if entry.isWritten { result.written += 1 }
        }
        return result
    }

    /// Calls `body` with every page of a range that has a frame, in order.
    ///
    /// - Parameter includingFailed: whether with those that failed, too.
    func forEachPage(
        of buffer: Buffer, in pages: Range<UInt64>, includingFailed: Bool = false,
        _ body: (UInt64, PageTableEntry) -> Void
    ) {
        visitPages(of: buffer, in: pages, includingFailed: includingFailed) { page, entry in
            body(page, entry)
            return true
        }
    }

    /// The same, as long as `body` says to go on.
    func visitPages(
        of buffer: Buffer, in pages: Range<UInt64>, includingFailed: Bool = false,
        _ body: (UInt64, PageTableEntry) -> Bool
    ) {
        var position = pages.lowerBound
        var isDone = false
        while !isDone {
            // A few leaves at a time: the lock is not held for as long as a large buffer takes.
            buffer.state.withLock { state in
                for _ in 0..<64 {
                    guard let (leaf, base) = state.table.nextLeaf(from: position), base < pages.upperBound else {
                        isDone = true
                        return
                    }
                    let entries = unsafe state.table.entries(of: leaf)
                    for page in max(base, pages.lowerBound)..<min(pages.upperBound, base + UInt64(TablePool.entries)) {
                        let slot = Int(page) & (TablePool.entries - 1)
                        let entry = PageTableEntry(rawValue: unsafe entries[slot])
                        guard entry.isPresent || includingFailed && !entry.isNone else { continue }
                        isDone = !body(page, entry)
                        if isDone { return }
                    }
                    position = base + UInt64(TablePool.entries)
                }
            }
        }
    }

    /// The number of pages of a buffer on each node, ascending by node id; nodes without pages are left out.
    public func placement(of buffer: Buffer) -> [(node: Int, pages: Int)] {
        let counts = buffer.state.withLock { $0.pagesByNode }
        return zip(nodes, counts).filter { $1 > 0 }.map { ($0.id, $1) }
    }

    /// The runs of pages of a buffer that have frames, or had one until it failed, in order of their offsets.
    public func runs(of buffer: Buffer) -> [PageRun] { runs(of: buffer, from: 0, limit: .max) }

    /// The first runs at or behind an offset, at most `limit`; empty if there are no more.
    public func runs(of buffer: Buffer, from offset: UInt64, limit: Int) -> [PageRun] {
        var runs: [PageRun] = []
        let isPinned = buffer.isPinned
        let first = Page.count(of: offset)
        guard first < UInt64.max >> Page.shift else { return [] }
        // One more, for only by that is it known where the last one ends.
        let enough = limit == .max ? limit : limit + 1
        if buffer.isDirect {
            appendDirectRuns(of: buffer, from: first, isPinned: isPinned, upTo: enough, to: &runs)
        } else {
            visitPages(of: buffer, in: first..<UInt64.max >> Page.shift, includingFailed: true) { page, entry in
                append(entry, page: page, isPinned: isPinned, to: &runs)
                return runs.count < enough
            }
        }
        if runs.count > limit { runs.removeLast() }
        return runs
    }

    func append(
        _ entry: PageTableEntry, page: UInt64, isPinned: Bool, isDirty: Bool? = nil, to runs: inout [PageRun]
    ) {
        let run = PageRun(
            offset: page << Page.shift, length: Page.size, node: node(of: entry.pfn).id,
            physicalAddress: entry.pfn << Page.shift, isDirty: isDirty ?? entry.isWritten, isHuge: entry.isHuge,
            isPinned: isPinned && entry.isPresent, isMigrating: entry.isMigrating,
            isPoisoned: entry.marker == .poisoned, isLost: entry.marker == .lost)
        if let last = runs.last, last.offset + last.length == run.offset, last.node == run.node,
            last.physicalAddress + last.length == run.physicalAddress, last.isDirty == run.isDirty,
            last.isHuge == run.isHuge, last.isPinned == run.isPinned, last.isMigrating == run.isMigrating,
            last.isPoisoned == run.isPoisoned, last.isLost == run.isLost
        {
            runs[runs.count - 1].length += Page.size
        } else {
            runs.append(run)
        }
    }

    /// The first byte at or behind `offset` whose page has a frame (SEEK_DATA). ENXIO if there is none.
    public func nextData(in buffer: Buffer, from offset: UInt64) throws(Errno) -> UInt64 {
        let found = buffer.state.withLock { state -> UInt64? in
            guard offset < state.size else { return nil }
            if let backing = state.backing { return backing.nextData(from: offset) }
            var page = offset >> Page.shift
            while let (leaf, base) = state.table.nextLeaf(from: page) {
                let entries = unsafe state.table.entries(of: leaf)
                for candidate in max(page, base)..<base + UInt64(TablePool.entries)
                where unsafe entries[Int(candidate) & (TablePool.entries - 1)] != 0 {
                    let start = max(offset, candidate << Page.shift)
                    return start < state.size ? start : nil
                }
                page = base + UInt64(TablePool.entries)
            }
            return nil
        }
        guard let found else { throw .noSuchAddressOrDevice }
        return found
    }

    /// The first byte at or behind `offset` whose page has no frame, or the end (SEEK_HOLE). ENXIO behind the end.
    public func nextHole(in buffer: Buffer, from offset: UInt64) throws(Errno) -> UInt64 {
        let found = buffer.state.withLock { state -> UInt64? in
            guard offset < state.size else { return nil }
            if let backing = state.backing { return backing.nextHole(from: offset) }
            var page = offset >> Page.shift
            let end = Page.count(of: state.size)
            while page < end, let leaf = state.table.leaf(of: page) {
                let entries = unsafe state.table.entries(of: leaf)
                let stop = (page | UInt64(TablePool.entries - 1)) + 1
                while page < stop, unsafe entries[Int(page) & (TablePool.entries - 1)] != 0 { page += 1 }
                if page < stop { break }
            }
            return min(max(offset, page << Page.shift), state.size)
        }
        guard let found else { throw .noSuchAddressOrDevice }
        return found
    }
}
