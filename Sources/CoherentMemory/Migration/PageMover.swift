import LinuxSupport

extension Mover {
    /// Pages moved under one turn and one hold of the buffer's lock: enough to be cheap, few enough that others get their turn
    /// soon.
    static let batch: UInt64 = 512

    /// The pages of a batch that move.
    struct Selection {
        var count = 0
        /// The places of the nodes that they are on.
        var sources = NodeMask()
        /// One of them.
        var page: UInt64 = 0
        /// How many of the pages are parts of huge ones.
        var huge = 0
        /// In whose share of the nodes they count.
        var share: FrameShare?
    }

    /// Ends a migration of pages that were marked for it without moving anything.
    func leave(_ pages: Range<UInt64>, of buffer: Buffer, filter: PageFilter) {
        buffer.state.withLock { state in state.pages.putBack(pages, filter: filter) }
    }

    /// Finds the pages of a batch that are to move, as things are now.
    ///
    /// - Parameters:
    ///   - pages: at most ``batch`` pages.
    ///   - outcome: gets those that cannot be moved at all, where nothing else is to move.
    /// - Returns: nil where nothing is to be moved.
    func select(
        _ pages: Range<UInt64>, of buffer: Buffer, filter: PageFilter, _ outcome: inout MigrationResult
    ) -> Selection? {
        buffer.state.withLock { state in
            var selection = Selection()
            selection.share = state.pages.share
            var stuck = 0
            let isPinned = state.isPinned || state.contiguous != nil
            let hasDevices = !state.pages.contexts.isEmpty
            var source: Node?
            unsafe state.pages.forEachMatch(pages, filter: filter) { page, slot in
                let entry = PageTableEntry(rawValue: unsafe slot.pointee)
                guard !isPinned, !entry.isDeviceMapped, !(hasDevices && isBusy(page, entry, in: state)) else {
                    stuck += 1
                    return
                }
                if source?.span.contains(entry.pfn) != true {
                    let node = nodes.node(of: entry.pfn)
                    selection.sources.insert(node.index)
                    source = node
                }
                selection.count += 1
                selection.page = page
                if entry.isHuge { selection.huge += 1 }
            }
            if !state.isPinned { countFailures(pages, filter: filter, in: state, &outcome) }
            if selection.count > 0 { return selection }
            outcome.failed += stuck
            outcome.pinned += stuck
            // The caller, which chose the pages, may have marked them.
            if stuck > 0 { state.pages.putBack(pages, filter: filter) }
            return nil
        }
    }

    private func isBusy(_ page: UInt64, _ entry: PageTableEntry, in state: borrowing Buffer.State) -> Bool {
        state.pages.isInFlight(entry.isHuge ? HugePage.pages(around: page) : page..<page + 1)
    }

    /// Counts the pages that would move if their memory had not failed (the -EHWPOISON of migrate_pages()).
    private func countFailures(
        _ pages: Range<UInt64>, filter: PageFilter, in state: borrowing Buffer.State, _ outcome: inout MigrationResult
    ) {
        // What only empties frames has nothing to do with pages that have none.
        switch filter {
        case .all, .notOn, .movable, .onNode: break
        default: return
        }
        unsafe state.pages.forEachMarker(in: pages) { _, slot in
            if PageTableEntry(rawValue: unsafe slot.pointee).matches(filter) {
                outcome.failed += 1
                outcome.poisoned += 1
            }
            return true
        }
    }

    /// Moves the pages of a batch: gives them other frames. Their bytes stay where they are, and so does what the page cache
    /// has of them, for nothing of it depends on the frame.
    ///
    /// - Parameters:
    ///   - pages: the batch.
    ///   - targets: the nodes to allocate from, in order.
    ///   - prepaid: the frames to move to, taken already; then `targets` is just the node that they are of.
    ///   - isHeld: whether touches of the pages are held back, and go on to be.
    func move(
        _ wanted: Selection, in pages: Range<UInt64>, of buffer: Buffer, filter: PageFilter, targets: [Node],
        prepaid: PrepaidFrames?, isHeld: Bool = false
    ) -> MigrationResult {
        var outcome = MigrationResult()
        let local = nodes.current
        let share = ShareOfTargets(share: wanted.share, sources: wanted.sources)
        if wanted.huge == HugePage.frames,
            let moved = moveHuge(
                of: buffer, unit: HugePage.pages(around: wanted.page), filter: filter, targets: targets, share: share,
                local: local, isHeld: isHeld)
        {
            outcome.add(moved)
            outcome.crossings = moved.crossings
            outcome.runs = moved.runs
            return outcome
        }
        var frames = FrameSupply(targets: targets, wanted: wanted.count, prepaid: prepaid, share: share)
        // Given back when the lock is free, for the node's is long taken for it.
        var freed = FreedFrames(isUnlimited: true)
        buffer.state.withLock { state in
            relabel(
                pages, filter: filter, in: &state, from: &frames, local: local, isHeld: isHeld, freed: &freed, &outcome)
        }
        freed.release(to: memory.tables)
        frames.releaseRest()
        return outcome
    }

    /// Puts new frames into the page table. Whatever became of a page, it is then no longer migrating, unless it is held.
    private func relabel(
        _ pages: Range<UInt64>, filter: PageFilter, in state: inout Buffer.State, from frames: inout FrameSupply,
        local: Node, isHeld: Bool, freed: inout FreedFrames, _ outcome: inout MigrationResult
    ) {
        let isPinned = state.isPinned || state.contiguous != nil
        if !isPinned { splitMatch(pages, filter: filter, in: &state, from: &frames) }
        let hasDevices = !state.pages.contexts.isEmpty
        var tally = PageTally(nodes)
        var runs = RunTally(isWanted: memory.trace.tracesMoves)
        var (old, new) = (nodes[0], nodes[0])
        unsafe state.pages.forEachMatch(pages, filter: filter) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            let wasMarked = entry.isMigrating
            entry.isMigrating = false
            // A device may have taken the page up meanwhile.
            if isPinned || entry.isDeviceMapped || hasDevices && isBusy(page, entry, in: state) {
                outcome.failed += 1
                outcome.pinned += 1
                return unsafe tally.set(slot, to: entry)
            }
            // A reserved huge page, if one came here meanwhile, moves as a whole or not at all.
            guard !entry.isHuge, let pfn = frames.next() else {
                outcome.failed += 1
                if frames.isOverShare { outcome.overShare += 1 }
                return unsafe tally.set(slot, to: entry)
            }
            if !old.span.contains(entry.pfn) { old = nodes.node(of: entry.pfn) }
            if !new.span.contains(pfn) { new = nodes.node(of: pfn) }
            runs.add(page, from: old.index, to: new.index)
            entry.isMigrating = wasMarked && isHeld
            unsafe tally.relabel(slot, entry, in: old, by: pfn, of: new, freed: &freed)
            outcome.moved += 1
        }
        tally.flush(in: &state.pages)
        outcome.crossings = tally.crossings
        outcome.runs = runs.runs
        if frames.isPrepaid { return }
        for crossing in tally.crossings {
            let node = nodes[crossing.to]
            memory.placer.account(crossing.pages, on: node, intended: frames.targets[0], isLocal: node === local)
        }
    }

    /// Makes base pages of a huge page of which some shall move, if they can.
    private func splitMatch(
        _ pages: Range<UInt64>, filter: PageFilter, in state: inout Buffer.State, from frames: inout FrameSupply
    ) {
        guard state.huge != .pool, let leaf = state.pages.table.leaf(of: pages.lowerBound),
            state.pages.table.isHuge(leaf)
        else {
            return
        }
        if state.pages.hasMatch(pages, filter: filter), frames.hasNext() {
            state.pages.split(HugePage.pages(around: pages.lowerBound))
        }
    }
}
