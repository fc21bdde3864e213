import LinuxSupport

extension Mover {
    /// Where a huge page may move to.
    private struct Destination {
        let run: FrameRun
        let node: Node
        /// Whether the page came from the free lists into a pool, which the old one then leaves.
        let growsPool: Bool
    }

    /// Moves a huge page as a whole.
    ///
    /// A reserved page goes to a free one of a target's pool, or to a fresh one, for which its own pool gives the old one
    /// up (alloc_hugetlb_folio_nodemask() and move_hugetlb_state()).
    ///
    /// - Returns: nil when it is no huge page any more, or no target has one and base pages will do.
    func moveHuge(
        of buffer: Buffer, unit: Range<UInt64>, filter: PageFilter, targets all: [Node], share: ShareOfTargets,
        local: Node, isHeld: Bool
    ) -> MigrationResult? {
        let targets = all.filter { share.room(on: $0) >= HugePage.frames }
        let isPooled = buffer.hugeMode == .pool
        guard let destination = isPooled ? pooledDestination(targets) : destination(targets) else {
            guard isPooled else { return nil }
            var outcome = buffer.state.withLock { giveUp(unit, filter: filter, in: &$0) }
            if targets.count < all.count { outcome.overShare = outcome.failed }
            return outcome
        }
        var freed = FreedFrames()
        var outcome = MigrationResult()
        let isMoved = buffer.state.withLock { state in
            // Its buffer may have been emptied and used anew meanwhile.
            guard !state.isPinned, isPooled == (state.huge == .pool), isHuge(unit, filter: filter, in: state),
                destination.node.isPresent
            else {
                return false
            }
            replace(unit, in: &state, with: destination, isHeld: isHeld, freed: &freed, &outcome)
            return true
        }
        freed.release(to: memory.tables)
        guard isMoved else {
            if destination.growsPool { _ = destination.node.leavePool(destination.run) }
            destination.node.release(destination.run)
            return isPooled ? buffer.state.withLock { giveUp(unit, filter: filter, in: &$0) } : nil
        }
        if !isPooled || destination.growsPool {
            memory.placer.account(1, on: destination.node, intended: targets[0], isLocal: destination.node === local)
        }
        outcome.moved = HugePage.frames
        return outcome
    }

    private func destination(_ targets: [Node]) -> Destination? {
        for node in targets {
            if let run = node.allocateHuge() { return Destination(run: run, node: node, growsPool: false) }
        }
        return nil
    }

    private func pooledDestination(_ targets: [Node]) -> Destination? {
        if nodes.hugeReserve.take() {
            for node in targets {
                if let run = node.takePooled() { return Destination(run: run, node: node, growsPool: false) }
            }
            nodes.hugeReserve.giveBack()
        }
        for node in targets {
            if let run = node.growPool() { return Destination(run: run, node: node, growsPool: true) }
        }
        return nil
    }

    /// Whether a unit is a huge page that a migration takes.
    private func isHuge(_ unit: Range<UInt64>, filter: PageFilter, in state: borrowing Buffer.State) -> Bool {
        let first = state.pages.table[unit.lowerBound]
        return first.isPresent && first.isHuge && first.matches(filter)
            && !unit.contains { state.pages.table[$0].isDeviceMapped }
    }

    /// Ends the migration of pages that stay where they are.
    private func giveUp(
        _ unit: Range<UInt64>, filter: PageFilter, in state: inout Buffer.State
    ) -> MigrationResult {
        var outcome = MigrationResult()
        let isPinned = state.isPinned
        state.pages.update(unit, filter: filter) { _, entry in
            entry.isMigrating = false
            outcome.failed += 1
            if isPinned || entry.isDeviceMapped { outcome.pinned += 1 }
        }
        return outcome
    }

    private func replace(
        _ unit: Range<UInt64>, in state: inout Buffer.State, with destination: Destination, isHeld: Bool,
        freed: inout FreedFrames, _ outcome: inout MigrationResult
    ) {
        let new = destination.node
        let oldStart = state.pages.table[unit.lowerBound].pfn
        let old = nodes.node(of: oldStart)
        var tally = PageTally(nodes)
        for page in unit {
            guard let slot = unsafe state.pages.table.entry(of: page) else {
                preconditionFailure("a huge page is incomplete")
            }
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            entry.isMigrating = entry.isMigrating && isHeld
            unsafe tally.relabel(
                slot, entry, in: old, by: destination.run.start + page - unit.lowerBound, of: new, freed: &freed)
        }
        if destination.growsPool, old.leavePool(FrameRun(start: oldStart, count: HugePage.frames)) {
            new.zone.withLock { $0.pool.usage.surplus += 1 }
        }
        tally.flush(in: &state.pages)
        outcome.crossings = tally.crossings
        if memory.trace.tracesMoves {
            outcome.runs = [
                MovedRun(from: old.index, to: new.index, start: unit.lowerBound, count: UInt64(HugePage.frames))
            ]
        }
    }
}
