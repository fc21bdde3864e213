import LinuxSupport
import SystemPackage

extension Mover {
    /// Moves a contiguous buffer as a whole, if any of its pages in a range is to move: into a run of the share of the
    /// first target that has one.
    ///
    /// The run is taken first, so that nothing is unmapped in vain. Where a link takes its time, all pages leave the page cache,
    /// which takes long and may be cancelled. Then all are in their new place at once. Pages whose memory failed stay lost.
    ///
    /// - Parameter progress: gets what became of the pages, several times.
    /// - Returns: what became of all pages; nil where the buffer is not contiguous.
    /// - Throws: EINTR when cancelled before any page was moved.
    func moveContiguous(
        _ buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], account: MigrationAccount,
        isCancelled: () -> Bool, _ progress: (MigrationResult) -> Void
    ) throws(Errno) -> MigrationResult? {
        guard buffer.isContiguous else { return nil }
        guard buffer.migrationTurn.wait(for: account.user, unless: isCancelled) else { throw .interrupted }
        defer { buffer.migrationTurn.signal() }
        var matching = 0
        var isPinned = false
        var share: FrameShare?
        let run = buffer.state.withLock { state -> FrameRun? in
            unsafe state.pages.forEachMatch(pages, filter: filter) { _, _ in matching += 1 }
            // What a device is at work on stays for so long.
            isPinned = state.isPinned || state.pages.contexts.contains { !$0.pinned.isEmpty }
            share = state.pages.share
            return state.contiguous
        }
        guard let run else { return nil }
        guard matching > 0 else { return MigrationResult() }
        account.expect(run.count - matching)
        let source = nodes.node(of: run.start)
        let shares = ShareOfTargets(share: share, sources: NodeMask([source.index]))
        let open = targets.filter { shares.room(on: $0) >= run.count }
        func refuse(pinned: Bool) -> MigrationResult {
            var outcome = MigrationResult()
            outcome.failed = run.count
            outcome.overShare = open.count < targets.count ? run.count : 0
            outcome.pinned = pinned ? run.count : 0
            progress(outcome)
            return outcome
        }
        guard !isPinned else { return refuse(pinned: true) }
        guard let (target, new) = takeRun(of: run.count, from: open) else { return refuse(pinned: false) }
        let all = 0..<UInt64(run.count)
        var outcome: MigrationResult?
        defer { releaseHold(of: buffer) }
        do throws(Errno) {
            try recall(all, of: buffer, moving: .all, isCancelled: isCancelled)
            let isPaced = devices.contains { $0.pace == .real && ($0.node === target || $0.node === source) }
            if isPaced { try uncacheAndHold(all, of: buffer, isCancelled: isCancelled) }
            outcome = relabel(buffer, from: run, to: new, of: target)
        } catch {
            target.release(new)
            throw error
        }
        guard let outcome else {
            target.release(new)
            guard target.isPresent else { throw .operationNotSupportedByDevice }
            return buffer.isPinned ? refuse(pinned: true) : MigrationResult()
        }
        memory.placeOnHost(all, of: buffer, moving: true)
        // Over the links they go batch by batch, as others do.
        var part = outcome
        var left = outcome.moved
        repeat {
            part.moved = min(left, Int(Self.batch))
            let crossing = Crossing(from: source.index, to: target.index, pages: part.moved)
            part.crossings = part.moved > 0 ? [crossing] : []
            left -= part.moved
            _ = moveInChannels(
                from: NodeMask([source.index]), to: [target], reason: account.reason, user: account.user,
                isCancelled: isCancelled, mayGiveUp: false
            ) { [part] _ in
                part
            } arrived: {
            }
            progress(part)
            part = MigrationResult()
        } while left > 0
        return outcome
    }

    /// Takes the pages of a contiguous buffer out of the page cache, batch by batch, and holds touches of them back. EINTR when
    /// cancelled; then none is held.
    private func uncacheAndHold(_ pages: Range<UInt64>, of buffer: Buffer, isCancelled: () -> Bool) throws(Errno) {
        for first in stride(from: pages.lowerBound, to: pages.upperBound, by: Int(Self.batch)) {
            if isCancelled() { throw .interrupted }
            buffer.unmapTurn.withLock { _ in
                let part = first..<min(pages.upperBound, first + Self.batch)
                memory.uncache(part, of: buffer)
            }
        }
        if isCancelled() { throw .interrupted }
        holdBack(pages, of: buffer, filter: .all)
    }

    /// Gives all pages of a contiguous buffer their frames in another run, each its own; those of pages whose memory failed go
    /// back, for without bytes to move these do not keep the others.
    ///
    /// - Returns: what became of the pages; nil where they are to stay after all.
    private func relabel(_ buffer: Buffer, from run: FrameRun, to new: FrameRun, of target: Node) -> MigrationResult? {
        let old = nodes.node(of: run.start)
        var freed = FreedFrames(isUnlimited: true)
        let outcome = buffer.state.withLock { state -> MigrationResult? in
            // Its buffer may be on its way out, and so may the target.
            guard !state.isPinned, state.contiguous?.start == run.start, target.isPresent else { return nil }
            var outcome = MigrationResult()
            var tally = PageTally(nodes)
            for page in 0..<UInt64(run.count) {
                guard let slot = unsafe state.pages.table.entry(of: page) else {
                    preconditionFailure("a page is missing")
                }
                var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                guard entry.isPresent else {
                    outcome.failed += 1
                    outcome.poisoned += 1
                    freed.append(new.start + page, node: target)
                    continue
                }
                if entry.isDeviceMapped {
                    state.pages.seize(page)
                    entry.isDeviceMapped = false
                }
                unsafe tally.relabel(slot, entry, in: old, by: new.start + page, of: target, freed: &freed)
                outcome.moved += 1
            }
            tally.flush(in: &state.pages)
            state.contiguous = new
            return outcome
        }
        freed.release(to: memory.tables)
        return outcome
    }

    private func takeRun(of count: Int, from targets: [Node]) -> (Node, FrameRun)? {
        for target in targets {
            if let run = try? target.allocateContiguous(count) { return (target, run) }
        }
        return nil
    }
}
