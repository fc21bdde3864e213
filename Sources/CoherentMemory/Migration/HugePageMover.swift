import CLinux
import Glibc
import Synchronization
import SystemPackage

extension Machine {
    /// Where a huge page may move to.
    private struct Destination {
        let run: FrameRun
        let node: Node
        /// Whether the page came from the free lists into a pool, which the old one then leaves.
        let growsPool: Bool
    }

    /// Moves a huge page as a whole, once its pages have left the page cache.
    ///
    /// A reserved page goes to a free one of a target's pool, or to a fresh one, for which its own pool gives the old one
    /// up (alloc_hugetlb_folio_nodemask() and move_hugetlb_state()).
    ///
    /// - Returns: nil when it is no huge page any more, or no target has one and base pages will do.
    func moveHuge(
        of buffer: Buffer, unit: Range<UInt64>, filter: PageFilter, targets: [Node], local: Node
    ) -> MigrationResult? {
        let isPooled = buffer.hugeMode == .pool
        guard let destination = isPooled ? pooledDestination(targets) : destination(targets) else {
            return isPooled ? buffer.state.withLock { giveUp(unit, filter: filter, in: &$0) } : nil
        }
        var freed = FreedFrames()
        var origin = 0
        let isMoved = buffer.state.withLock { state in
            // Its buffer may have been emptied and used anew meanwhile.
            guard !state.isPinned, isPooled == (state.huge == .pool), isHuge(unit, filter: filter, in: state),
                destination.node.isPresent
            else {
                return false
            }
            origin = nodeIndex(of: state.table[unit.lowerBound].pfn)
            replace(unit, in: &state, with: destination, isPooled: isPooled, freed: &freed)
            return true
        }
        freed.release(to: self)
        guard isMoved else {
            if destination.growsPool { _ = destination.node.leavePool(destination.run) }
            destination.node.release(destination.run)
            return isPooled ? buffer.state.withLock { giveUp(unit, filter: filter, in: &$0) } : nil
        }
        if !isPooled || destination.growsPool {
            account(1, on: destination.node, intended: targets[0], isLocal: destination.node === local)
        }
        var outcome = MigrationResult()
        outcome.moved = HugePage.frames
        outcome.cross(from: origin, to: destination.node.index, pages: HugePage.frames)
        return outcome
    }

    private func destination(_ targets: [Node]) -> Destination? {
        for node in targets {
            if let run = node.allocateHuge() { return Destination(run: run, node: node, growsPool: false) }
        }
        return nil
    }

    private func pooledDestination(_ targets: [Node]) -> Destination? {
        for node in targets {
            if let run = node.takePooled() { return Destination(run: run, node: node, growsPool: false) }
        }
        for node in targets {
            if let run = node.growPool() { return Destination(run: run, node: node, growsPool: true) }
        }
        return nil
    }

    /// Whether a unit is a huge page that a migration takes.
    private func isHuge(_ unit: Range<UInt64>, filter: PageFilter, in state: borrowing Buffer.State) -> Bool {
        let first = state.table[unit.lowerBound]
        return first.isPresent && first.isHuge && matches(first, filter)
            && !unit.contains { state.table[$0].isDeviceMapped }
    }

    /// Ends the migration of pages that stay where they are.
    private func giveUp(
        _ unit: Range<UInt64>, filter: PageFilter, in state: inout Buffer.State
    ) -> MigrationResult {
        var outcome = MigrationResult()
        unsafe forEachMatch(unit, filter: filter, in: state) { _, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            entry.isMigrating = false
            unsafe slot.pointee = entry.rawValue
            outcome.failed += 1
            if state.isPinned || entry.isDeviceMapped { outcome.pinned += 1 }
        }
        return outcome
    }

    private func replace(
        _ unit: Range<UInt64>, in state: inout Buffer.State, with destination: Destination, isPooled: Bool,
        freed: inout FreedFrames
    ) {
        let new = destination.node
        let oldStart = state.table[unit.lowerBound].pfn
        let old = node(of: oldStart)
        var (cached, written, active) = (0, 0, 0)
        var copy = PageCopy()
        for page in unit {
            guard let leaf = state.table.leaf(of: page) else { preconditionFailure("a huge page is incomplete") }
            let slot = unsafe state.table.entries(of: leaf) + (Int(page) & (TablePool.entries - 1))
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            let pfn = destination.run.start + page - unit.lowerBound
            if entry.isWritten { copy.add(entry.pfn, of: old, to: pfn, of: new) }
            cached += entry.isCached ? 1 : 0
            written += entry.isWritten ? 1 : 0
            active += entry.isActive ? 1 : 0
            new.frames.setOwner(of: new.index(of: pfn), to: leaf)
            let frame = old.index(of: entry.pfn)
            old.frames.setOwner(of: frame, to: FrameTable.unmapped)
            if old.frames.isPinned(frame) {
                state.orphans[entry.pfn] = entry.isWritten
            } else {
                freed.append(entry.pfn, isWritten: entry.isWritten, node: old)
            }
            entry.pfn = pfn
            entry.hasHint = false
            entry.isMigrating = false
            unsafe slot.pointee = entry.rawValue
        }
        copy.flush()
        if destination.growsPool, old.leavePool(FrameRun(start: oldStart, count: HugePage.frames)) {
            new.zone.withLock { $0.pool.usage.surplus += 1 }
        }
        guard old !== new else { return }
        state.addPages(-HugePage.frames, node: old.index)
        state.addPages(HugePage.frames, node: new.index)
        old.counters.cached.add(-cached)
        new.counters.cached.add(cached)
        old.counters.written.add(-written)
        new.counters.written.add(written)
        old.counters.active.add(-active)
        new.counters.active.add(active)
        guard !isPooled else { return }
        old.counters.huge.add(-1)
        new.counters.huge.add(1)
    }
}
