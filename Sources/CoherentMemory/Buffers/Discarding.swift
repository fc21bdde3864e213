import CLinux
import Glibc
import Synchronization
import SystemPackage

extension Machine {
    /// Changes the size of a buffer (ftruncate(2)); pages behind a nearer end are freed.
    ///
    /// - Throws: EFBIG beyond the largest file offset, EINVAL for a device's memory.
    public func resize(_ buffer: Buffer, to size: UInt64) throws(Errno) {
        guard size <= UInt64(Int64.max) else { throw .fileTooLarge }
        if let fixed = buffer.fixedSize {
            guard size == fixed else { throw .invalidArgument }
            return
        }
        let shrinks = buffer.state.withLock { state in
            defer { state.size = size }
            guard size < state.size else { return false }
            zero(size..<Page.count(of: size) << Page.shift, of: &state)
            return true
        }
        // Pages allocated behind the end stay when the buffer grows, as in tmpfs.
        if shrinks { discard(buffer, pages: Page.count(of: size)..<UInt64.max >> Page.shift) }
    }

    /// Frees the pages of a byte range, which then reads as zeros (FALLOC_FL_PUNCH_HOLE); zeroes what it covers of
    /// the pages at its ends. The size stays.
    public func punch(_ buffer: Buffer, bytes: Range<UInt64>) {
        guard !bytes.isEmpty else { return }
        let whole =
            Page.count(
                of: bytes.lowerBound)..<max(
                Page.count(of: bytes.lowerBound), bytes.upperBound >> Page.shift)
        buffer.state.withLock { state in
            zero(bytes.lowerBound..<min(bytes.upperBound, whole.lowerBound << Page.shift), of: &state)
            if bytes.upperBound > whole.upperBound << Page.shift {
                zero(max(bytes.lowerBound, whole.upperBound << Page.shift)..<bytes.upperBound, of: &state)
            }
        }
        discard(buffer, pages: whole)
    }

    /// Zeroes part of one page, if it was ever stored to.
    private func zero(_ bytes: Range<UInt64>, of state: inout Buffer.State) {
        guard !bytes.isEmpty, let leaf = state.table.leaf(of: bytes.lowerBound >> Page.shift) else { return }
        let slot = Int(bytes.lowerBound >> Page.shift) & (TablePool.entries - 1)
        let entry = PageTableEntry(rawValue: unsafe state.table.entries(of: leaf)[slot])
        guard entry.isWritten else { return }
        unsafe memset(
            node(of: entry.pfn).address(of: entry.pfn) + Int(bytes.lowerBound & (Page.size - 1)), 0, bytes.count)
    }

    /// Takes pages out of a buffer and frees their frames.
    ///
    /// - Parameter onlyUntouched: whether to leave pages that were handed out or stored to.
    func discard(_ buffer: Buffer, pages: Range<UInt64>, onlyUntouched: Bool = false) {
        var next = pages.lowerBound
        while next < pages.upperBound {
            var freed = FreedFrames()
            // The frames are given back without the lock, for that is a call to the host's file system.
            let position = buffer.state.withLock { state in
                unmap(next..<pages.upperBound, of: &state, into: &freed, onlyUntouched: onlyUntouched)
            }
            freed.release(to: self)
            guard let position else { break }
            next = position
        }
    }

    /// Unmaps pages until `freed` is full. Returns where to go on, nil when nothing is left.
    private func unmap(
        _ pages: Range<UInt64>, of state: inout Buffer.State, into freed: inout FreedFrames, onlyUntouched: Bool
    ) -> UInt64? {
        var cached = PageTally()
        var written = PageTally()
        var position = pages.lowerBound
        defer {
            cached.flush { $0.counters.cached.add(-$1) }
            written.flush { $0.counters.written.add(-$1) }
        }
        while position < pages.upperBound {
            guard let (leaf, base) = state.table.nextLeaf(from: position), base < pages.upperBound else { return nil }
            guard freed.hasRoom else { return position }
            let part = max(position, base)..<min(pages.upperBound, base + UInt64(TablePool.entries))
            position = part.upperBound
            var orphans: [(PFN, Bool)] = []
            var counts: [(Int, Int)] = []
            state.table.remove(part, leaf: leaf) { _, entry in
                if onlyUntouched, entry.isCached || entry.isWritten || entry.isMigrating { return false }
                let node = node(of: entry.pfn)
                if entry.isCached { cached.add(entry.pfn, in: self) { $0.counters.cached.add(-$1) } }
                if entry.isWritten { written.add(entry.pfn, in: self) { $0.counters.written.add(-$1) } }
                if let last = counts.last, last.0 == node.index {
                    counts[counts.count - 1].1 += 1
                } else {
                    counts.append((node.index, 1))
                }
                let frame = node.index(of: entry.pfn)
                node.frames.setOwner(of: frame, to: FrameTable.unmapped)
                if node.frames.isPinned(frame) {
                    orphans.append((entry.pfn, entry.isWritten))
                } else {
                    freed.append(entry.pfn, isWritten: entry.isWritten, node: node)
                }
                return true
            }
            for (node, count) in counts { state.addPages(-count, node: node) }
            for (pfn, isWritten) in orphans { state.orphans[pfn] = isWritten }
        }
        return nil
    }
}

/// Frames on their way back to their nodes, gathered into runs.
struct FreedFrames: ~Copyable {
    private static let maximumRuns = 256
    /// 32 MiB: giving more back at once would keep whoever waits for a frame waiting.
    private static let maximumFrames = 8192
    private var runs: [FrameRun] = []
    private var count = 0

    /// Whether a whole leaf of frames may still be added.
    var hasRoom: Bool { runs.count < Self.maximumRuns && count < Self.maximumFrames }

    mutating func append(_ pfn: PFN, isWritten: Bool, node: Node) {
        count += 1
        if let last = runs.indices.last, runs[last].end == pfn, runs[last].isWritten == isWritten,
            node.span.contains(runs[last].start), node.span.isInOnePiece(runs[last].start, pfn)
        {
            runs[last].count += 1
        } else {
            runs.append(FrameRun(start: pfn, count: 1, isWritten: isWritten))
        }
    }

    consuming func release(to machine: Machine) {
        for run in runs { machine.node(of: run.start).release(run) }
    }
}
