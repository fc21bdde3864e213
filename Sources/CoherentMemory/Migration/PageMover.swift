import CLinux
import Glibc
import Synchronization
import SystemPackage

/// Which pages of a buffer a migration takes.
enum PageFilter {
    /// All.
    case all
    /// All that are not yet on the target.
    case notOn(node: Int)
    /// Those of one node.
    case onNode(Int)
    /// Those whose frames are in a range, such as a memory block's.
    case frames(Range<PFN>)
    /// The same, but for huge pages.
    case baseFrames(Range<PFN>)
    /// Those that are marked as migrating already.
    case migrating
    /// Those that are just being taken out of the page cache.
    case unmapping
}

extension Machine {
    /// Pages moved under one turn: enough to be cheap, few enough that others get their turn soon.
    static let batch: UInt64 = 512
    /// Pages copied under one hold of the buffer's lock, as many as a write stores.
    private static let piece: UInt64 = 32

    /// Begins to move the pages of one batch: marks them and takes them out of the page cache (the first half of
    /// migrate_pages_batch() of mm/migrate.c; the second is ``move(_:in:of:filter:targets:prepaid:)``).
    ///
    /// The kernel's page cache is the authority on a page that was handed out. So it is asked first to drop the
    /// range, which brings what was stored as writes into the old frames. Reads go on being served from the old
    /// frames all the while, and stores through what they handed out come back through the page table. The copy is
    /// made under the buffer's lock, piece by piece: it waits for nobody, so those who want the lock may wait for it.
    ///
    /// - Parameters:
    ///   - pages: at most ``batch`` pages.
    ///   - outcome: gets those that cannot be moved at all.
    /// - Returns: nil where nothing is to be moved.
    /// - Throws: EINTR when cancelled while devices were still to let go of pages.
    func takeOut(
        _ pages: Range<UInt64>, of buffer: Buffer, filter: PageFilter, isCancelled: () -> Bool,
        _ outcome: inout MigrationResult
    ) throws(Errno) -> Selection? {
        do throws(Errno) {
            try recall(pages, of: buffer, moving: filter, isCancelled: isCancelled)
        } catch {
            // Whoever chose the pages may have marked them.
            leave(pages, of: buffer, filter: filter)
            throw error
        }
        let wanted = buffer.unmapTurn.withLock { _ in
            let wanted = buffer.state.withLock { state in
                guard !state.isPinned else {
                    giveUpPinned(pages, filter: filter, in: state, &outcome)
                    return Selection()
                }
                countFailures(pages, filter: filter, in: state, &outcome)
                return select(pages, filter: filter, in: &state)
            }
            if !wanted.isPinned { for run in wanted.cached.runs { invalidate(buffer, pages: run) } }
            return wanted
        }
        outcome.failed += wanted.inFlight
        outcome.pinned += wanted.inFlight
        guard wanted.count > 0 else { return nil }
        if wanted.isPinned {
            outcome.failed += wanted.count
            outcome.pinned += wanted.count
            return nil
        }
        return wanted
    }

    /// Ends what ``takeOut(_:of:filter:isCancelled:_:)`` began without moving anything.
    func leave(_ pages: Range<UInt64>, of buffer: Buffer, filter: PageFilter) {
        buffer.state.withLock { state in
            unsafe forEachMatch(pages, filter: filter, in: state) { _, slot in
                var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                entry.isMigrating = false
                unsafe slot.pointee = entry.rawValue
            }
        }
    }

    /// Copies the pages of a batch that have left the page cache into new frames, and publishes these.
    ///
    /// - Parameters:
    ///   - targets: the nodes to allocate from, in order.
    ///   - prepaid: the frames to move to, taken already; then `targets` is just the node that they are of.
    func move(
        _ wanted: Selection, in pages: Range<UInt64>, of buffer: Buffer, filter: PageFilter, targets: [Node],
        prepaid: PrepaidFrames?
    ) -> MigrationResult {
        var outcome = MigrationResult()
        let local = currentNode
        if wanted.huge == HugePage.frames,
            let moved = moveHuge(
                of: buffer, unit: HugePage.pages(around: wanted.first), filter: filter, targets: targets, local: local)
        {
            outcome.add(moved)
            outcome.crossings = moved.crossings
            return outcome
        }
        var frames = FrameSupply(targets: targets, wanted: wanted.count, prepaid: prepaid)
        // Given back together, for the host frees a long run much faster than many short ones.
        var freed = FreedFrames()
        var page = wanted.first
        while page <= wanted.last {
            let part = page..<min(wanted.last + 1, page + Self.piece)
            buffer.state.withLock { state in
                replace(part, filter: filter, in: &state, from: &frames, local: local, freed: &freed, &outcome)
            }
            page = part.upperBound
        }
        freed.release(to: self)
        frames.releaseRest()
        return outcome
    }

    /// The node whose CPU runs this thread.
    var currentNode: Node {
        let cpu = Int(sched_getcpu())
        return nodes.first { $0.cpus.contains(cpu) } ?? nodes[0]
    }

    /// The pages of a batch that move.
    struct Selection {
        var count = 0
        /// The places of the nodes that they are on.
        var sources = NodeMask()
        var first: UInt64 = .max
        var last: UInt64 = 0
        /// Those of the pages that may be in the kernel's page cache, and some between them.
        var cached = PageRuns()
        /// Whether the pages cannot be moved. The migration's turn keeps that as it is.
        var isPinned = false
        /// How many of the pages are parts of huge ones.
        var huge = 0
        /// How many other pages a device is at work on.
        var inFlight = 0
    }

    func matches(_ entry: PageTableEntry, _ filter: PageFilter) -> Bool {
        switch filter {
        case .all: true
        case .notOn(let node): nodeIndex(of: entry.pfn) != node
        case .onNode(let node): nodeIndex(of: entry.pfn) == node
        case .frames(let frames): frames.contains(entry.pfn)
        case .baseFrames(let frames): !entry.isHuge && frames.contains(entry.pfn)
        case .migrating: entry.isMigrating
        case .unmapping: entry.isUnmapping
        }
    }

    /// Calls `body` with every entry of a range that a migration takes.
    func forEachMatch(
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

    /// Counts the pages that would move if they were not pinned.
    private func giveUpPinned(
        _ pages: Range<UInt64>, filter: PageFilter, in state: borrowing Buffer.State, _ outcome: inout MigrationResult
    ) {
        unsafe forEachMatch(pages, filter: filter, in: state) { _, slot in
            // Whoever chose the pages may have marked them.
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            entry.isMigrating = false
            unsafe slot.pointee = entry.rawValue
            outcome.failed += 1
            outcome.pinned += 1
        }
    }

    /// Counts the pages that would move if their memory had not failed (the -EHWPOISON of migrate_pages()).
    private func countFailures(
        _ pages: Range<UInt64>, filter: PageFilter, in state: borrowing Buffer.State, _ outcome: inout MigrationResult
    ) {
        // What only empties frames has nothing to do with pages that have none.
        switch filter {
        case .all, .notOn, .onNode: break
        default: return
        }
        unsafe forEachMarker(in: pages, of: state) { _, slot in
            if matches(PageTableEntry(rawValue: unsafe slot.pointee), filter) {
                outcome.failed += 1
                outcome.poisoned += 1
            }
            return true
        }
    }

    /// Finds the pages to move, and notes that they are about to leave the page cache: a read from now on notes
    /// the contrary again.
    ///
    /// - Parameter isWhole: whether the caller moves all of a contiguous buffer; else its pages cannot be moved.
    func select(
        _ pages: Range<UInt64>, filter: PageFilter, in state: inout Buffer.State, isWhole: Bool = false
    ) -> Selection {
        var selection = Selection()
        if state.contiguous != nil, !isWhole {
            selection.isPinned = true
            unsafe forEachMatch(pages, filter: filter, in: state) { _, _ in selection.count += 1 }
            return selection
        }
        var uncached = PageTally()
        let hasDevices = !state.contexts.isEmpty && !isWhole
        // Of the run of selected pages that a page is in.
        var start = pages.lowerBound
        var source: Node?
        unsafe forEachMatch(pages, filter: filter, in: state) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            let isBusy = hasDevices && state.isInFlight(entry.isHuge ? HugePage.pages(around: page) : page..<page + 1)
            guard isWhole || !isBusy && !entry.isDeviceMapped else {
                entry.isMigrating = false
                unsafe slot.pointee = entry.rawValue
                selection.inFlight += 1
                return
            }
            if selection.count == 0 || page > selection.last + 1 { start = page }
            // Never asked for: reads of it may be held back.
            if entry.isDeviceMapped { start = page + 1 }
            if source?.span.contains(entry.pfn) != true {
                let node = node(of: entry.pfn)
                selection.sources.insert(node.index)
                source = node
            }
            selection.count += 1
            selection.first = min(selection.first, page)
            selection.last = max(selection.last, page)
            entry.isMigrating = true
            if entry.isHuge { selection.huge += 1 }
            if entry.isCached {
                selection.cached.append(page, joining: start)
                entry.isCached = false
                uncached.add(entry.pfn, in: self) { $0.counters.cached.add(-$1) }
            }
            unsafe slot.pointee = entry.rawValue
        }
        uncached.flush { $0.counters.cached.add(-$1) }
        return selection
    }

    /// Copies pages into new frames and puts these into the page table. Whatever became of a page, it is then no
    /// longer migrating.
    private func replace(
        _ pages: Range<UInt64>, filter: PageFilter, in state: inout Buffer.State, from frames: inout FrameSupply,
        local: Node, freed: inout FreedFrames, _ outcome: inout MigrationResult
    ) {
        if !state.isPinned { splitMatch(pages, filter: filter, in: &state, from: &frames) }
        var landed = PageTally()
        func count(_ node: Node, _ pages: Int) {
            if frames.isPrepaid { return }
            account(pages, on: node, intended: frames.targets[0], isLocal: node === local)
        }
        var crossed = CrossingTally()
        var copy = PageCopy()
        var orphans: [(PFN, isWritten: Bool)] = []
        let hasDevices = !state.contexts.isEmpty
        var seized = PageRuns()
        unsafe forEachMatch(pages, filter: filter, in: state) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            let wasSelected = entry.isMigrating
            entry.isMigrating = false
            defer { unsafe slot.pointee = entry.rawValue }
            // Of a contiguous buffer, some have moved already. A device may have taken the page up meanwhile, or before; then
            // it is counted already.
            let isBusy = entry.isDeviceMapped || hasDevices && state.isInFlight(page..<page + 1)
            guard state.contiguous != nil || !state.isPinned && !isBusy else {
                guard wasSelected || state.isPinned else { return }
                outcome.failed += 1
                outcome.pinned += 1
                return
            }
            // A reserved huge page, if one came here meanwhile, moves as a whole or not at all.
            guard !entry.isHuge, let pfn = frames.next(for: page) else {
                outcome.failed += 1
                return
            }
            if entry.isDeviceMapped {
                seized.append(page)
                entry.isDeviceMapped = false
            }
            let old = node(of: entry.pfn)
            let new = node(of: pfn)
            let frame = old.index(of: entry.pfn)
            if entry.isWritten { copy.add(entry.pfn, of: old, to: pfn, of: new) }
            new.frames.setOwner(of: new.index(of: pfn), to: old.frames.owner(of: frame))
            landed.add(pfn, in: self, count)
            outcome.cross(from: old.index, to: new.index)
            if new !== old { crossed.add(entry, from: old, to: new) }
            old.frames.setOwner(of: frame, to: FrameTable.unmapped)
            if old.frames.isPinned(frame) {
                orphans.append((entry.pfn, entry.isWritten))
            } else {
                freed.append(entry.pfn, isWritten: entry.isWritten, node: old)
            }
            entry.pfn = pfn
            entry.hasHint = false
            outcome.moved += 1
        }
        copy.flush()
        landed.flush(count)
        crossed.flush(in: &state)
        for (pfn, isWritten) in orphans { state.orphans[pfn] = isWritten }
        for page in seized.runs.joined() { seize(page, in: &state) }
    }

    /// Makes base pages of a huge page of which some shall move, if they can.
    private func splitMatch(
        _ pages: Range<UInt64>, filter: PageFilter, in state: inout Buffer.State, from frames: inout FrameSupply
    ) {
        guard state.huge != .pool, let leaf = state.table.leaf(of: pages.lowerBound), state.table.isHuge(leaf) else {
            return
        }
        var isWanted = false
        unsafe forEachMatch(pages, filter: filter, in: state) { _, _ in isWanted = true }
        if isWanted, frames.hasNext() { split(HugePage.pages(around: pages.lowerBound), of: &state) }
    }
}

/// Frames for pages that move, taken from the first of several nodes that has any.
private struct FrameSupply {
    let targets: [Node]
    /// Pages that still want a frame.
    private var wanted: Int
    private var run = FrameRun(start: 0, count: 0)
    private var current = 0

    private let prepaid: PrepaidFrames?

    init(targets: [Node], wanted: Int, prepaid: PrepaidFrames?) {
        self.targets = targets
        self.wanted = wanted
        self.prepaid = prepaid
    }

    /// Whether the frames were taken, and are not counted.
    var isPrepaid: Bool { prepaid != nil }

    /// Whether there is a next frame.
    mutating func hasNext() -> Bool {
        // Its link may have been cut since.
        if run.count > 0, prepaid == nil, !targets[current].isPresent { releaseRest() }
        while run.count == 0 {
            if let prepaid {
                guard let more = prepaid.take() else { return false }
                run = more
                continue
            }
            guard current < targets.count else { return false }
            if let more = targets[current].allocateRun(upTo: max(1, wanted)) { run = more } else { current += 1 }
        }
        return true
    }

    mutating func next(for page: UInt64) -> PFN? {
        if let prepaid, prepaid.isPlaced { return prepaid.frame(of: page) }
        guard hasNext() else { return nil }
        wanted -= 1
        run.start += 1
        run.count -= 1
        return run.start - 1
    }

    /// Gives back what was taken too much.
    mutating func releaseRest() {
        if run.count > 0 {
            if let prepaid { prepaid.add(run) } else { targets[current].release(run) }
        }
        run.count = 0
    }
}

/// Frames taken ahead, for several batches. For one thread.
final class PrepaidFrames {
    private var runs: [FrameRun] = []
    private(set) var count = 0
    /// The frames that the pages of a contiguous buffer get, each its own, and the first page that has none yet.
    private var places: FrameRun?
    private var nextPage: UInt64 = 0

    init() {}

    /// Frames for all pages of a contiguous buffer, which ask in their order.
    init(places run: FrameRun) { places = run }

    /// Whether each page gets a certain frame.
    var isPlaced: Bool { places != nil }

    /// The frame that is a page's. Those of pages before it that did not ask are left.
    fileprivate func frame(of page: UInt64) -> PFN? {
        guard let places else { return nil }
        leave(before: page)
        nextPage = page + 1
        return places.start + page
    }

    private func leave(before page: UInt64) {
        guard let places, page > nextPage else { return }
        add(FrameRun(start: places.start + nextPage, count: Int(page - nextPage)))
    }

    func add(_ run: FrameRun) {
        runs.append(run)
        count += run.count
    }

    fileprivate func take() -> FrameRun? {
        guard let run = runs.popLast() else { return nil }
        count -= run.count
        return run
    }

    /// Gives back what was not used.
    func releaseRest(to node: Node) {
        if let places { leave(before: UInt64(places.count)) }
        places = nil
        for run in runs { node.release(run) }
        runs = []
        count = 0
    }
}
