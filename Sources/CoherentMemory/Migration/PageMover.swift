import CLinux
import Glibc
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

extension Machine {
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

    /// The node whose CPU runs this thread.
    var currentNode: Node {
        let cpu = Int(sched_getcpu())
        return nodes.first { $0.cpus.contains(cpu) } ?? nodes[0]
    }

    /// Ends a migration of pages that were marked for it without moving anything.
    func leave(_ pages: Range<UInt64>, of buffer: Buffer, filter: PageFilter) {
        buffer.state.withLock { state in unmark(pages, filter: filter, in: state) }
    }

    private func unmark(_ pages: Range<UInt64>, filter: PageFilter, in state: borrowing Buffer.State) {
        unsafe forEachMatch(pages, filter: filter, in: state) { _, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            entry.isMigrating = false
            unsafe slot.pointee = entry.rawValue
        }
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
            selection.share = state.share
            var stuck = 0
            let isPinned = state.isPinned || state.contiguous != nil
            let hasDevices = !state.contexts.isEmpty
            var source: Node?
            unsafe forEachMatch(pages, filter: filter, in: state) { page, slot in
                let entry = PageTableEntry(rawValue: unsafe slot.pointee)
                guard !isPinned, !entry.isDeviceMapped, !(hasDevices && isBusy(page, entry, in: state)) else {
                    stuck += 1
                    return
                }
                if source?.span.contains(entry.pfn) != true {
                    let node = node(of: entry.pfn)
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
            // Whoever chose the pages may have marked them.
            if stuck > 0 { unmark(pages, filter: filter, in: state) }
            return nil
        }
    }

    private func isBusy(_ page: UInt64, _ entry: PageTableEntry, in state: borrowing Buffer.State) -> Bool {
        state.isInFlight(entry.isHuge ? HugePage.pages(around: page) : page..<page + 1)
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
        unsafe forEachMarker(in: pages, of: state) { _, slot in
            if matches(PageTableEntry(rawValue: unsafe slot.pointee), filter) {
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
        let local = currentNode
        let share = ShareOfTargets(share: wanted.share, sources: wanted.sources)
        if wanted.huge == HugePage.frames,
            let moved = moveHuge(
                of: buffer, unit: HugePage.pages(around: wanted.page), filter: filter, targets: targets, share: share,
                local: local, isHeld: isHeld)
        {
            outcome.add(moved)
            outcome.crossings = moved.crossings
            return outcome
        }
        var frames = FrameSupply(targets: targets, wanted: wanted.count, prepaid: prepaid, share: share)
        // Given back when the lock is free, for the node's is long taken for it.
        var freed = FreedFrames(isUnlimited: true)
        buffer.state.withLock { state in
            relabel(
                pages, filter: filter, in: &state, from: &frames, local: local, isHeld: isHeld, freed: &freed, &outcome)
        }
        freed.release(to: self)
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
        let hasDevices = !state.contexts.isEmpty
        var landed = PageTally()
        func count(_ node: Node, _ pages: Int) {
            if frames.isPrepaid { return }
            account(pages, on: node, intended: frames.targets[0], isLocal: node === local)
        }
        var crossed = FrameTally()
        var (old, new) = (nodes[0], nodes[0])
        unsafe forEachMatch(pages, filter: filter, in: state) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            let wasMarked = entry.isMigrating
            entry.isMigrating = false
            defer { unsafe slot.pointee = entry.rawValue }
            // A device may have taken the page up meanwhile.
            if isPinned || entry.isDeviceMapped || hasDevices && isBusy(page, entry, in: state) {
                outcome.failed += 1
                outcome.pinned += 1
                return
            }
            // A reserved huge page, if one came here meanwhile, moves as a whole or not at all.
            guard !entry.isHuge, let pfn = frames.next() else {
                outcome.failed += 1
                if frames.isOverShare { outcome.overShare += 1 }
                return
            }
            if !old.span.contains(entry.pfn) { old = node(of: entry.pfn) }
            if !new.span.contains(pfn) { new = node(of: pfn) }
            replaceFrame(of: &entry, in: old, by: pfn, of: new, freed: &freed)
            landed.add(pfn, in: self, count)
            crossed.add(entry, from: old.index, to: new.index)
            entry.isMigrating = wasMarked && isHeld
            outcome.moved += 1
        }
        landed.flush(count)
        outcome.cross(crossed.flush(in: &state, of: self))
    }

    /// Gives a page another frame. The caller holds the buffer's lock, sees to the counters, and frees the old frame.
    @inline(__always)
    func replaceFrame(
        of entry: inout PageTableEntry, in old: Node, by pfn: PFN, of new: Node, freed: inout FreedFrames
    ) {
        let frame = old.index(of: entry.pfn)
        new.frames.setOwner(of: new.index(of: pfn), to: old.frames.owner(of: frame))
        old.frames.setOwner(of: frame, to: FrameTable.unmapped)
        freed.append(entry.pfn, node: old)
        entry.pfn = pfn
        entry.hasHint = false
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
