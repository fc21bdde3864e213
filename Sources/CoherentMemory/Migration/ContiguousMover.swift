import Synchronization
import SystemPackage

extension Machine {
    /// Moves a contiguous buffer as a whole, if any of its pages in a range is to move: into a run of the share of the
    /// first target that has one.
    ///
    /// The run is taken first, so that nothing is unmapped in vain. Then all pages leave the page cache, which takes long and
    /// may be cancelled; then they are copied, which is done batch by batch and to the end. What is read or stored in between
    /// finds its page, on whichever side it is. Pages whose memory failed stay lost. A buffer that is pinned once the copies have begun is moved all the same.
    ///
    /// - Parameter progress: gets what became of the pages, several times.
    /// - Returns: what became of all pages; nil where the buffer is not contiguous.
    /// - Throws: EINTR when cancelled before any page was copied.
    func moveContiguous(
        _ buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], account: MigrationAccount,
        isCancelled: () -> Bool, _ progress: (MigrationResult) -> Void
    ) throws(Errno) -> MigrationResult? {
        guard buffer.isContiguous else { return nil }
        guard buffer.migrationTurn.wait(unless: isCancelled) else { throw .interrupted }
        defer { buffer.migrationTurn.signal() }
        var (matching, markers, isPinned) = (0, 0, false)
        let run = buffer.state.withLock { state -> FrameRun? in
            unsafe forEachMatch(pages, filter: filter, in: state) { _, _ in matching += 1 }
            // What a device is at work on stays for so long.
            (isPinned, markers) = (state.isPinned || state.contexts.contains { !$0.pinned.isEmpty }, state.markers)
            return state.contiguous
        }
        guard let run else { return nil }
        guard matching > 0 else { return MigrationResult() }
        account.expect(run.count - matching)
        func refuse(pinned: Bool) -> MigrationResult {
            var outcome = MigrationResult()
            outcome.failed = run.count
            outcome.pinned = pinned ? run.count : 0
            progress(outcome)
            return outcome
        }
        guard !isPinned else { return refuse(pinned: true) }
        guard let (target, new) = takeRun(of: run.count, from: targets) else { return refuse(pinned: false) }
        let frames = PrepaidFrames(places: new)
        defer { frames.releaseRest(to: target) }

        try recall(0..<UInt64(run.count), of: buffer, moving: .all, isCancelled: isCancelled)
        try takeOut(allOf: buffer, count: UInt64(run.count), isCancelled: isCancelled)
        guard !buffer.isPinned else {
            leave(0..<UInt64(run.count), of: buffer, filter: .all)
            return refuse(pinned: true)
        }
        var sources = NodeMask()
        sources.insert(nodeIndex(of: run.start))
        var outcome = MigrationResult()
        // Pages whose memory failed have no bytes to move, and do not keep the others.
        (outcome.failed, outcome.poisoned) = (markers, markers)
        progress(outcome)
        for first in stride(from: 0, to: UInt64(run.count), by: Int(Self.batch)) {
            let part = first..<min(UInt64(run.count), first + Self.batch)
            var wanted = Selection()
            (wanted.count, wanted.first, wanted.last) = (part.count, part.lowerBound, part.upperBound - 1)
            let moved = copyInChannels(
                from: sources, to: [target], reason: account.reason, isCancelled: isCancelled, mayGiveUp: false
            ) { move(wanted, in: part, of: buffer, filter: .all, targets: [target], prepaid: frames) }
            guard let moved else { continue }
            progress(moved)
            outcome.add(moved)
        }
        // Its buffer may be on its way out, which takes the pages one by one.
        // And so may be the target, and all of the pages with it.
        buffer.state.withLock { state in if state.contiguous != nil { state.contiguous = target.isPresent ? new : nil }
        }
        return outcome
    }

    /// Marks all pages of a contiguous buffer and takes them out of the page cache. EINTR when cancelled; then none is marked.
    private func takeOut(allOf buffer: Buffer, count: UInt64, isCancelled: () -> Bool) throws(Errno) {
        var writtenBack: UInt64 = 0
        for first in stride(from: 0, to: count, by: Int(Self.batch)) where !isCancelled() {
            if first >= writtenBack {
                writtenBack = writeBackAhead(of: buffer, from: first, to: count, filter: .all, isWhole: true)
            }
            let part = first..<min(count, first + Self.batch)
            buffer.unmapTurn.withLock { _ in
                let wanted = buffer.state.withLock { select(part, filter: .all, in: &$0, isWhole: true) }
                for run in wanted.cached.runs { invalidate(buffer, pages: run) }
            }
        }
        guard isCancelled() else { return }
        leave(0..<count, of: buffer, filter: .all)
        throw .interrupted
    }

    private func takeRun(of count: Int, from targets: [Node]) -> (Node, FrameRun)? {
        for target in targets {
            if let run = try? target.allocateContiguous(count) { return (target, run) }
        }
        return nil
    }

    /// The nodes to whose shares contiguous buffers of a node may be drained, the nearest first: those that whoever named the
    /// one may name.
    func contiguousTargets(beside node: Node) -> [Node] {
        (0..<nodes.count).map { nodes[Int(node.fallback[$0])] }.filter {
            $0 !== node && $0.kind == .coherent && [.none, .exclusive].contains($0.isolation)
        }
    }
}
