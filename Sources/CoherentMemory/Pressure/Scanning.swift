import LinuxSupport

extension Reclaimer {
    /// What a visit of the scanner is to do with pages that are not in use.
    struct Eviction {
        /// At most so many are freed; of a huge page all or none.
        var limit: Int
        /// Where those go that hold more than zeros, the nearest first; none to leave them.
        var targets: [Node]
    }

    /// Visits the pages in 512 frames of a node, and frees those whose turn it is (shrink_active_list() and
    /// shrink_inactive_list() of mm/vmscan.c).
    ///
    /// Whether a page is in use is seen by taking it out of the page cache: who uses it reads it anew, which
    /// ``PageTableEntry/isCached`` tells at the next visit. As in Linux it takes two to become active, and an active one
    /// that is not in use has a second chance on the inactive list. A read brings in what lies around the touched page, too,
    /// so that use is told apart by the fault-around.
    ///
    ///     inactive              in use: referenced     else: freed
    ///     inactive, referenced  in use: active         else: freed
    ///     active                in use: active         else: inactive
    ///
    /// A page of a program's own memory is in use if the program stored to it: loads are not seen. It begins as one in use.
    ///
    /// What devices use is looked at on their lists, by their rules. A huge page is one page here. Reserved ones are on no list, nor
    /// are locked ones.
    ///
    /// - Returns: how many pages were freed, demoted ones among them, and how many moved.
    func visit(
        unit: Int, of node: Node, _ eviction: Eviction, isCancelled: () -> Bool = { false }
    ) -> (freed: Int, demoted: Int) {
        var result = (freed: 0, demoted: 0)
        for (id, bases) in memory.tables.leaves(inUnit: unit, of: node) {
            guard let buffer = memory.buffer(id: id), buffer.hugeMode != .pool else { continue }
            buffer.migrationTurn.withLock { _ in
                let part = visit(
                    bases, of: buffer, unit: unit, of: node,
                    Eviction(limit: eviction.limit - result.freed, targets: eviction.targets),
                    isCancelled: isCancelled)
                result.freed += part.freed
                result.demoted += part.demoted
            }
        }
        return result
    }

    private struct Findings {
        var cached = PageRuns()
        var zeros = PageRuns()
        var cold = PageRuns()
        var huge = PageRuns()
        var freed = 0
        var coldPages = 0
    }

    /// The caller holds the buffer's migration turn.
    private func visit(
        _ bases: [UInt64], of buffer: Buffer, unit: Int, of node: Node, _ eviction: Eviction, isCancelled: () -> Bool
    ) -> (freed: Int, demoted: Int) {
        let start = node.span.pfn(at: unit * HugePage.frames)
        let frames = start..<start + UInt64(HugePage.frames)
        let target = eviction.targets.first { $0.room > 0 }
        let room = target?.room ?? 0
        let isAnonymous = buffer.isAnonymous
        var stored = RangeSet<UInt64>()
        if isAnonymous {
            let leaves = bases.map { $0..<$0 + UInt64(TablePool.entries) }
            // Memory whose use is not known stays.
            guard let use = memory.use(of: buffer, pages: leaves) else { return (0, 0) }
            stored = use.stored
        }
        buffer.unmapTurn.wait()
        let found = buffer.state.withLock { state in
            // The buffer may have become one of reserved huge pages, or a contiguous one, meanwhile. Of a direct one it is not
            // known which pages are in use.
            guard state.huge != .pool, state.contiguous == nil, state.backing == nil, !state.isPinned else {
                return Findings()
            }
            var found = Findings()
            var isHugeInUse: Bool?
            var tally = PageTally(nodes)
            // A device's own memory never goes to another one's.
            let room = state.isDevice ? 0 : room
            for base in bases {
                let leaf = base..<base + UInt64(TablePool.entries)
                unsafe state.pages.forEachMatch(leaf, filter: .frames(frames)) { page, slot in
                    if isAnonymous, state.locked.contains(page) { return }
                    var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                    if entry.isHuge, isHugeInUse == nil {
                        let unit = HugePage.pages(around: page)
                        isHugeInUse = unit.contains {
                            state.pages.table[$0].isCached || state.pages.table[$0].isAccessed
                        }
                        if !state.pages.contexts.isEmpty {
                            for page in unit where state.pages.ageDevices(page) { isHugeInUse = true }
                        }
                    }
                    if !entry.isHuge, !state.pages.contexts.isEmpty, state.pages.ageDevices(page) {
                        // On a list of the device, which uses it.
                        node.counters.pressure.scanned.add(1)
                        node.counters.pressure.referenced.add(1)
                        return
                    }
                    let isInUse =
                        entry.isHuge ? isHugeInUse! : entry.isCached || entry.isAccessed || stored.contains(page)
                    entry.isAccessed = false
                    visit(
                        &entry, page: page, isInUse: isInUse,
                        isZero: { unsafe !isAnonymous && memory.tables.isZero(slot) }, of: node,
                        eviction,
                        room: room, &found)
                    unsafe tally.set(slot, to: entry)
                }
            }
            tally.flush(in: &state.pages)
            return found
        }
        memory.unmap(found.cached, of: buffer)
        buffer.unmapTurn.signal()
        var freed = 0
        for run in found.zeros.runs { freed += discardZeros(run, of: buffer, on: node) }
        var demoted = 0
        func demote(_ pages: Range<UInt64>, _ filter: PageFilter, to target: Node) {
            // What is cancelled stays here, as if it had been in use.
            let outcome = try? mover.moveHoldingTurn(
                buffer, pages: pages, filter: filter, targets: [target], reason: .demotion, isCancelled: isCancelled)
            demoted += outcome?.moved ?? 0
        }
        for part in found.cold.batches {
            guard let target else { break }
            demote(part, .migrating, to: target)
        }
        for unit in found.huge.batches {
            let zeros = discardZeros(unit, of: buffer, on: node)
            freed += zeros
            guard zeros == 0, let target, room >= HugePage.frames, buffer.fixedSize == nil else { continue }
            demote(unit, .frames(frames), to: target)
        }
        node.counters.pressure.reclaimed.add(freed + demoted)
        return (freed + demoted, demoted)
    }

    /// Frees pages of zeros that are not in use; how many.
    private func discardZeros(_ pages: Range<UInt64>, of buffer: Buffer, on node: Node) -> Int {
        let freed = memory.discard(buffer, pages: pages, .zeros(on: node.span))
        guard freed > 0, memory.trace.isEnabled(.pagesFreed) else { return freed }
        if freed == pages.count {
            memory.trace.noteFreed(pages, of: buffer.id, byReclaim: true)
        } else {
            // Some were touched meanwhile.
            buffer.state.withLock { state in
                for page in pages where state.pages.table[page].isNone {
                    memory.trace.noteFreed(page..<page + 1, of: buffer.id, byReclaim: true)
                }
            }
        }
        return freed
    }

    private func visit(
        _ entry: inout PageTableEntry, page: UInt64, isInUse: Bool, isZero: () -> Bool, of node: Node,
        _ eviction: Eviction, room: Int, _ found: inout Findings
    ) {
        node.counters.pressure.scanned.add(1)
        if isInUse {
            node.counters.pressure.referenced.add(1)
            if !entry.isActive {
                if entry.isReferenced {
                    entry.isActive = true
                    node.counters.pressure.activated.add(1)
                }
                entry.isReferenced.toggle()
            }
            if entry.uncache() { found.cached.append(page) }
        } else if entry.isActive {
            entry.isActive = false
            node.counters.pressure.deactivated.add(1)
        } else {
            entry.isReferenced = false
            guard found.freed < eviction.limit || entry.isHuge && found.freed % HugePage.frames != 0 else { return }
            if entry.isHuge {
                found.huge.append(page)
            } else if isZero() {
                found.zeros.append(page)
            } else if found.coldPages < room {
                entry.isMigrating = true
                found.coldPages += 1
                found.cold.append(page)
            } else {
                return
            }
            found.freed += 1
        }
    }
}
