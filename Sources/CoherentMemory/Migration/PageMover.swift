import Glibc
import Synchronization
import SystemPackage

/// A page on its way from one frame to another.
struct MovingPage: BitwiseCopyable {
    var page: UInt64
    var old: PFN
    var new: PFN
    var isWritten: Bool
}

/// What became of the pages of a batch.
struct BatchOutcome {
    var moved = 0
    /// Pages that were stored to or claimed meanwhile, and may move at the next try.
    var busy = 0
    /// Pages for which the target had no frame.
    var starved = 0
}

/// Which pages of a buffer a migration takes.
enum PageFilter {
    /// All that are not yet on the target.
    case notOn(node: Int)
    /// Those of one node.
    case onNode(Int)
    /// Those whose frames are in a range, such as a memory block's.
    case frames(Range<PFN>)
}

extension Machine {
    /// Pages moved under one turn: enough to be cheap, few enough that others get their turn soon.
    static let batch: UInt64 = 512

    /// Moves the pages of one batch: unmap, copy, publish (migrate_pages_batch() of mm/migrate.c).
    ///
    /// The kernel's page cache is the authority on a page that was handed out. So it is asked first to drop the
    /// range, which brings what was stored as writes into the old frames. Reads go on being served from the old
    /// frames all the while. A store that arrives during the copy clears the entry's `migrating` flag: that page
    /// keeps its old frame and is tried again.
    ///
    /// - Parameters:
    ///   - pages: at most ``batch`` pages.
    ///   - targets: the nodes to allocate from, in order.
    ///   - copiesUnderLock: whether no store may come in between, for pages that were busy before.
    func moveBatch(
        of buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], copiesUnderLock: Bool
    ) -> BatchOutcome {
        let wanted = buffer.state.withLock { state in select(pages, filter: filter, in: &state) }
        guard wanted.count > 0 else { return BatchOutcome() }
        if wanted.isCached { invalidate(buffer, pages: wanted.first..<wanted.last + 1) }

        var outcome = BatchOutcome()
        var moving: [MovingPage] = []
        moving.reserveCapacity(wanted.count)
        var freed = FreedFrames()
        buffer.state.withLock { state in
            claim(pages, filter: filter, targets: targets, in: &state, into: &moving, &outcome)
            if copiesUnderLock {
                copy(moving)
                publish(moving, in: &state, freed: &freed, &outcome)
            }
        }
        if !copiesUnderLock {
            copy(moving)
            buffer.state.withLock { publish(moving, in: &$0, freed: &freed, &outcome) }
        }
        freed.release(to: self)
        return outcome
    }

    private struct Selection {
        var count = 0
        var first: UInt64 = .max
        var last: UInt64 = 0
        /// Whether any of the pages may be in the kernel's page cache.
        var isCached = false
    }

    private func matches(_ entry: PageTableEntry, _ filter: PageFilter) -> Bool {
        switch filter {
        case .notOn(let node): nodeIndex(of: entry.pfn) != node
        case .onNode(let node): nodeIndex(of: entry.pfn) == node
        case .frames(let frames): frames.contains(entry.pfn)
        }
    }

    /// Calls `body` with every entry of a range that a migration takes.
    private func forEachMatch(
        _ pages: Range<UInt64>, filter: PageFilter, in state: borrowing Buffer.State,
        _ body: (UInt64, UnsafeMutablePointer<UInt64>) -> Void
    ) {
        var page = pages.lowerBound
        while page < pages.upperBound, let (leaf, base) = state.table.nextLeaf(from: page), base < pages.upperBound {
            let entries = unsafe state.table.entries(of: leaf)
            for candidate in max(page, base)..<min(pages.upperBound, base + UInt64(TablePool.entries)) {
                let slot = unsafe entries + (Int(candidate) & (TablePool.entries - 1))
                let entry = PageTableEntry(rawValue: unsafe slot.pointee)
                if entry.isPresent, matches(entry, filter) { unsafe body(candidate, slot) }
            }
            page = base + UInt64(TablePool.entries)
        }
    }

    /// Finds the pages to move, and notes that they are about to leave the page cache: a read from now on notes
    /// the contrary again.
    private func select(
        _ pages: Range<UInt64>, filter: PageFilter, in state: inout Buffer.State
    ) -> Selection {
        var selection = Selection()
        var uncached = PageTally()
        unsafe forEachMatch(pages, filter: filter, in: state) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            selection.count += 1
            selection.first = min(selection.first, page)
            selection.last = max(selection.last, page)
            if entry.isCached {
                selection.isCached = true
                entry.isCached = false
                unsafe slot.pointee = entry.rawValue
                uncached.add(entry.pfn, in: self) { $0.counters.cached.add(-$1) }
            }
        }
        uncached.flush { $0.counters.cached.add(-$1) }
        return selection
    }

    /// Finds a new frame for each page and marks it as migrating.
    private func claim(
        _ pages: Range<UInt64>, filter: PageFilter, targets: [Node], in state: inout Buffer.State,
        into moving: inout [MovingPage], _ outcome: inout BatchOutcome
    ) {
        var frames = FrameSupply(targets: targets)
        var wanted = 0
        unsafe forEachMatch(pages, filter: filter, in: state) { _, _ in wanted += 1 }
        unsafe forEachMatch(pages, filter: filter, in: state) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            guard !entry.isMigrating else {
                outcome.busy += 1
                return
            }
            guard let new = frames.next(wanted: wanted - moving.count) else {
                outcome.starved += 1
                return
            }
            moving.append(MovingPage(page: page, old: entry.pfn, new: new, isWritten: entry.isWritten))
            entry.isMigrating = true
            unsafe slot.pointee = entry.rawValue
        }
        frames.releaseRest()
    }

    private func copy(_ moving: [MovingPage]) {
        for page in moving where page.isWritten {
            unsafe memcpy(node(of: page.new).address(of: page.new), node(of: page.old).address(of: page.old), Int(Page.size))
        }
    }

    /// Puts the new frames into the page table, except where a store or a truncation came first.
    private func publish(
        _ moving: [MovingPage], in state: inout Buffer.State, freed: inout FreedFrames, _ outcome: inout BatchOutcome
    ) {
        for page in moving {
            let new = node(of: page.new)
            let old = node(of: page.old)
            guard let leaf = state.table.leaf(of: page.page),
                case let slot = unsafe state.table.entries(of: leaf) + (Int(page.page) & (TablePool.entries - 1)),
                case var entry = PageTableEntry(rawValue: unsafe slot.pointee),
                entry.isPresent, entry.isMigrating, entry.pfn == page.old
            else {
                if state.table[page.page].isPresent { outcome.busy += 1 }
                freed.append(page.new, isWritten: page.isWritten, node: new)
                continue
            }
            entry.pfn = page.new
            entry.isMigrating = false
            unsafe slot.pointee = entry.rawValue
            new.frames.setOwner(of: new.index(of: page.new), to: leaf)
            if new !== old {
                state.addPages(-1, node: old.index)
                state.addPages(1, node: new.index)
                if entry.isCached {
                    old.counters.cached.add(-1)
                    new.counters.cached.add(1)
                }
                if entry.isWritten {
                    old.counters.written.add(-1)
                    new.counters.written.add(1)
                }
            }
            let frame = old.index(of: page.old)
            old.frames.setOwner(of: frame, to: FrameTable.unmapped)
            if old.frames.isPinned(frame) {
                state.orphans[page.old] = page.isWritten
            } else {
                freed.append(page.old, isWritten: page.isWritten, node: old)
            }
            outcome.moved += 1
        }
    }
}

/// Frames for pages that move, taken from the first of several nodes that has any.
private struct FrameSupply {
    let targets: [Node]
    private var run = FrameRun(start: 0, count: 0)
    private var current = 0

    init(targets: [Node]) { self.targets = targets }

    mutating func next(wanted: Int) -> PFN? {
        while run.count == 0 {
            guard current < targets.count else { return nil }
            if let more = targets[current].allocateRun(upTo: max(1, wanted)) { run = more } else { current += 1 }
        }
        run.start += 1
        run.count -= 1
        return run.start - 1
    }

    /// Gives back what was taken too much.
    mutating func releaseRest() {
        if run.count > 0 { targets[current].release(run) }
        run.count = 0
    }
}
