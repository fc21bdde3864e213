import Glibc
import LinuxSupport

/// Which pages of a range go.
enum Discarded {
    /// All.
    case all
    /// Pages that were neither handed out nor stored to.
    case untouched
    /// Those of a node, by its span, that read as zeros and that are not cached.
    case zeros(on: NodeSpan)

    /// Whether the page of an entry goes.
    func takes(_ slot: UnsafeMutablePointer<UInt64>, in pool: TablePool) -> Bool {
        let entry = PageTableEntry(rawValue: unsafe slot.pointee)
        return switch self {
        case .all: true
        case _ where !entry.isPresent: false
        case .untouched: !entry.isCached && !entry.isWritten && !entry.isMigrating
        case .zeros(let span):
            unsafe !entry.isCached && !entry.isMigrating && span.contains(entry.pfn) && pool.isZero(slot)
        }
    }
}

extension Memory {
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
                state.unmap(next..<pages.upperBound, into: &freed, choice, &count)
            }
            freed.release(to: tables)
            guard let position else { break }
            next = position
        }
        return count
    }

    /// Takes all that a device's own memory holds away, with its file: a program that still maps that gets SIGBUS.
    func discardAll(of buffer: Buffer) {
        invalidate(buffer, pages: 0..<Page.count(of: buffer.size))
        buffer.state.withLock { state in
            try? state.backing?.resize(to: 0)
            buffer.setBacking(nil, in: &state)
        }
        discard(buffer, pages: 0..<UInt64.max >> Page.shift)
    }
}

extension Buffer.State {
    /// Zeroes parts of a few pages, as far as they were ever stored to.
    func zero(_ bytes: Range<UInt64>) {
        var start = bytes.lowerBound
        while start < bytes.upperBound {
            let last = start | (Page.size - 1)
            let end = bytes.upperBound - 1 <= last ? bytes.upperBound : last + 1
            if let slot = unsafe pages.table.entry(of: start >> Page.shift),
                PageTableEntry(rawValue: unsafe slot.pointee).isWritten
            {
                unsafe memset(pages.pool.address(of: slot) + Int(start & (Page.size - 1)), 0, Int(end - start))
            }
            start = end
        }
    }

    /// Unmaps pages until `freed` is full. Returns where to go on, nil when nothing is left.
    mutating func unmap(
        _ range: Range<UInt64>, into freed: inout FreedFrames, _ choice: Discarded, _ count: inout Int
    ) -> UInt64? {
        // Asked for before the buffer was made contiguous.
        guard contiguous == nil else { return nil }
        // What the machine does not see is not known to be unused.
        if isAnonymous, case .all = choice {} else if isAnonymous { return nil }
        let pool = pages.pool
        var tally = PageTally(pages.nodes)
        defer { tally.flush(in: &pages) }
        var position = range.lowerBound
        while position < range.upperBound {
            guard let (leaf, base) = pages.table.nextLeaf(from: position), base < range.upperBound else { return nil }
            let isHuge = pages.table.isHuge(leaf)
            // A huge page goes at once, or a touch would find it half gone.
            guard freed.hasRoom || isHuge && base % UInt64(HugePage.frames) != 0 else { return position }
            let part = max(position, base)..<min(range.upperBound, base + UInt64(TablePool.entries))
            position = part.upperBound
            if isHuge, let next = prepare(HugePage.pages(around: base), at: base, range, choice) {
                position = next
                continue
            }
            count += unsafe pages.unmapFrames(part, of: leaf, into: &freed, in: &tally) { _, slot in
                unsafe choice.takes(slot, in: pool)
            }
        }
        return nil
    }

    private func takesAll(_ unit: Range<UInt64>, _ choice: Discarded) -> Bool {
        unit.allSatisfy { page in
            guard let slot = unsafe pages.table.entry(of: page) else { return false }
            return unsafe choice.takes(slot, in: pages.pool)
        }
    }

    /// Readies a huge page of which pages shall go, at its leaf from `base` on: it goes as a whole, is split, or stays.
    ///
    /// - Returns: where to go on if it stays.
    private mutating func prepare(
        _ unit: Range<UInt64>, at base: UInt64, _ range: Range<UInt64>, _ choice: Discarded
    ) -> UInt64? {
        let isWhole = range.lowerBound <= unit.lowerBound && range.upperBound >= unit.upperBound
        switch choice {
        case .all: if isWhole { return nil }
        case .untouched: if isWhole, base > unit.lowerBound || takesAll(unit, choice) { return nil }
        case .zeros:
            let goes = huge != .pool && isWhole && (base > unit.lowerBound || takesAll(unit, choice))
            return goes ? nil : unit.upperBound
        }
        if huge == .pool { return unit.upperBound }
        pages.split(unit)
        return nil
    }
}
