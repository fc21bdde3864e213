import CLinux
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

extension Machine {
    /// Changes the size of a buffer (ftruncate(2)); pages behind a smaller size are freed.
    ///
    /// - Parameter origin: the toucher, which determines where a direct buffer's pages get their frames.
    /// - Throws: ENOSPC and EPERM if a direct buffer cannot get them, EFBIG beyond the largest file offset, EPERM of a
    ///   contiguous buffer, EINVAL for a device's memory, or under ``HugeMode/pool`` for a size that is not a multiple
    ///   of a huge page (hugetlbfs_setattr()).
    public func resize(
        _ buffer: Buffer, to size: UInt64, origin: Origin = Origin(pid: 0, node: 0)
    ) throws(Errno) {
        guard size <= UInt64(Int64.max) else { throw .fileTooLarge }
        if let fixed = buffer.fixedSize {
            guard size == fixed else { throw .invalidArgument }
            return
        }
        if buffer.isDirect { try grow(buffer, to: size, origin: origin) }
        let shrinks = try buffer.state.withLock { state throws(Errno) in
            guard state.contiguous == nil || size == state.size else { throw .notPermitted }
            guard state.huge != .pool || size % HugePage.size == 0 else { throw .invalidArgument }
            // Somebody else made a direct one shorter meanwhile: their size came last.
            if state.backing != nil, size > state.size { return false }
            defer { state.size = size }
            guard size < state.size else { return false }
            if let backing = state.backing {
                try backing.resize(to: size)
                return true
            }
            zero(size..<Page.count(of: size) << Page.shift, of: &state)
            return true
        }
        // Pages allocated behind the end stay when the buffer grows, as in tmpfs.
        if shrinks { discard(buffer, pages: Page.count(of: size)..<UInt64.max >> Page.shift) }
    }

    /// Frees the pages of a byte range, which then reads as zeros (FALLOC_FL_PUNCH_HOLE), and zeroes the parts of pages
    /// at its ends; the pages are huge under ``HugeMode/pool``. Other huge pages are split. The size stays. A
    /// contiguous buffer keeps its pages: they are zeroed. So does a direct buffer, because later touches of it cannot
    /// be seen; its withheld pages get frames again if there are any.
    public func punch(_ buffer: Buffer, bytes: Range<UInt64>) {
        guard !bytes.isEmpty else { return }
        if buffer.isDirect, punchDirect(buffer, bytes: bytes) { return }
        if buffer.isContiguous { return zeroContiguous(buffer, bytes: bytes) }
        let whole = buffer.state.withLock { state in
            let granule = state.huge == .pool ? HugePage.size : Page.size
            let start = (bytes.lowerBound + granule - 1) / granule * granule
            let end = max(start, bytes.upperBound / granule * granule)
            zero(bytes.lowerBound..<min(bytes.upperBound, start), of: &state)
            if bytes.upperBound > end { zero(max(bytes.lowerBound, end)..<bytes.upperBound, of: &state) }
            return start >> Page.shift..<end >> Page.shift
        }
        discard(buffer, pages: whole)
    }

    /// Zeroes parts of a few pages, as far as they were ever stored to.
    func zero(_ bytes: Range<UInt64>, of state: inout Buffer.State) {
        var start = bytes.lowerBound
        while start < bytes.upperBound {
            let last = start | (Page.size - 1)
            let end = bytes.upperBound - 1 <= last ? bytes.upperBound : last + 1
            zero(inPage: start..<end, of: &state)
            start = end
        }
    }

    private func zero(inPage bytes: Range<UInt64>, of state: inout Buffer.State) {
        guard !bytes.isEmpty, let slot = unsafe state.table.entry(of: bytes.lowerBound >> Page.shift),
            PageTableEntry(rawValue: unsafe slot.pointee).isWritten
        else { return }
        unsafe memset(tables.address(of: slot) + Int(bytes.lowerBound & (Page.size - 1)), 0, bytes.count)
    }

    /// Takes pages out of a buffer and frees their frames.
    ///
    /// - Returns: how many pages went.
    @discardableResult
    func discard(_ buffer: Buffer, pages: Range<UInt64>, _ choice: Discarded = .all) -> Int {
        var next = pages.lowerBound
        var count = 0
        while next < pages.upperBound {
            var freed = FreedFrames()
            // The memory is given back without the lock, for that is a call to the host's file system.
            let position = buffer.state.withLock { state in
                unmap(next..<pages.upperBound, of: &state, into: &freed, choice, &count)
            }
            freed.release(to: self)
            guard let position else { break }
            next = position
        }
        return count
    }

    /// Unmaps pages until `freed` is full. Returns where to go on, nil when nothing is left.
    func unmap(
        _ pages: Range<UInt64>, of state: inout Buffer.State, into freed: inout FreedFrames, _ choice: Discarded,
        _ count: inout Int
    ) -> UInt64? {
        // Asked for before the buffer was made contiguous.
        guard state.contiguous == nil else { return nil }
        var gone = FrameTally()
        var markers = 0
        var position = pages.lowerBound
        defer {
            state.markers -= markers
            gone.flush(in: &state, of: self)
        }
        while position < pages.upperBound {
            guard let (leaf, base) = state.table.nextLeaf(from: position), base < pages.upperBound else { return nil }
            let isHuge = state.table.isHuge(leaf)
            // A huge page goes at once, or a touch would find it half gone.
            guard freed.hasRoom || isHuge && base % UInt64(HugePage.frames) != 0 else { return position }
            let part = max(position, base)..<min(pages.upperBound, base + UInt64(TablePool.entries))
            position = part.upperBound
            if isHuge, let next = prepare(HugePage.pages(around: base), at: base, pages, choice, of: &state) {
                position = next
                continue
            }
            var dropped: [UInt64] = []
            var held = FreedFrames()
            let slots = unsafe state.table.entries(of: leaf)
            state.table.remove(part, leaf: leaf) { page, entry in
                guard unsafe takes(page, entry, choice, in: slots) else { return false }
                count += 1
                guard entry.isPresent else {
                    markers += 1
                    return true
                }
                let node = node(of: entry.pfn)
                gone.add(entry, from: node.index)
                node.frames.setOwner(of: node.index(of: entry.pfn), to: FrameTable.unmapped)
                if entry.isDeviceMapped { dropped.append(page) }
                if entry.isDeviceMapped {
                    held.append(entry.pfn, node: node)
                } else {
                    freed.append(entry.pfn, node: node)
                }
                return true
            }
            if !dropped.isEmpty { drop(dropped, frames: held, of: &state) }
        }
        return nil
    }
}

/// Which pages of a range go.
enum Discarded {
    /// All pages.
    case all
    /// Pages that were neither handed out nor stored to.
    case untouched
    /// Pages of a node that read as zeros and are not cached.
    case zeros(node: Int)
}

extension Machine {
    /// - Parameter slots: the entries of the page's leaf.
    private func takes(
        _ page: UInt64, _ entry: PageTableEntry, _ choice: Discarded, in slots: UnsafeMutablePointer<UInt64>
    ) -> Bool {
        switch choice {
        case .all: true
        case _ where !entry.isPresent: false
        case .untouched: !entry.isCached && !entry.isWritten && !entry.isMigrating
        case .zeros(let node):
            unsafe !entry.isCached && !entry.isMigrating && nodeIndex(of: entry.pfn) == node
                && isZero(slots + (Int(page) & (TablePool.entries - 1)))
        }
    }

    /// Whether the page of an entry reads as zeros.
    func isZero(_ slot: UnsafeMutablePointer<UInt64>) -> Bool {
        guard PageTableEntry(rawValue: unsafe slot.pointee).isWritten else { return true }
        return unsafe memcmp(tables.address(of: slot), zeros.base, Int(Page.size)) == 0
    }

    private func takesAll(_ unit: Range<UInt64>, _ choice: Discarded, of state: borrowing Buffer.State) -> Bool {
        for page in unit {
            guard let leaf = state.table.leaf(of: page) else { return false }
            let slots = unsafe state.table.entries(of: leaf)
            let entry = PageTableEntry(rawValue: unsafe slots[Int(page) & (TablePool.entries - 1)])
            if unsafe !takes(page, entry, choice, in: slots) { return false }
        }
        return true
    }

    /// Readies a huge page of which pages shall go, at its leaf from `base` on: it goes as a whole, is split, or stays.
    ///
    /// - Returns: where to go on if it stays.
    private func prepare(
        _ unit: Range<UInt64>, at base: UInt64, _ pages: Range<UInt64>, _ choice: Discarded,
        of state: inout Buffer.State
    ) -> UInt64? {
        let isWhole = pages.lowerBound <= unit.lowerBound && pages.upperBound >= unit.upperBound
        if case .all = choice {
            if isWhole {
                if base == unit.lowerBound, state.huge != .pool {
                    node(of: state.table[base].pfn).counters.huge.add(-1)
                }
                return nil
            }
        } else if isWhole, base > unit.lowerBound || takesAll(unit, choice, of: state) {
            if case .zeros = choice, state.huge == .pool { return unit.upperBound }
            if base == unit.lowerBound, state.huge != .pool {
                node(of: state.table[base].pfn).counters.huge.add(-1)
            }
            return nil
        } else if case .zeros = choice {
            return unit.upperBound
        }
        if state.huge == .pool { return unit.upperBound }
        split(unit, of: &state)
        return nil
    }
}

/// Frames on their way back to their nodes, gathered into runs.
struct FreedFrames: ~Copyable {
    private static let maximumRuns = 256
    /// 32 MiB: giving more back at once would keep whoever waits for a frame waiting.
    private static let maximumFrames = 8192
    private(set) var runs: [FrameRun] = []
    private var count = 0
    /// Whether all are to be taken at once, however many.
    private let isUnlimited: Bool

    init(isUnlimited: Bool = false) { self.isUnlimited = isUnlimited }

    /// Whether a whole leaf of frames may still be added.
    var hasRoom: Bool { isUnlimited || runs.count < Self.maximumRuns && count < Self.maximumFrames }

    mutating func append(_ pfn: PFN, node: Node) {
        count += 1
        if let last = runs.indices.last, runs[last].end == pfn, node.span.contains(runs[last].start),
            node.span.isInOnePiece(runs[last].start, pfn)
        {
            runs[last].count += 1
        } else {
            runs.append(FrameRun(start: pfn, count: 1))
        }
    }

    /// Gives the frames back, and the memory of pages that went with their tables. The caller holds no lock of a buffer.
    consuming func release(to machine: Machine) {
        for run in runs { machine.node(of: run.start).release(run) }
        machine.tables.punchEmptied()
    }
}
