import LinuxSupport
import Synchronization

extension Machine {
    /// What a visit of the scanner is to do with pages that nobody uses.
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
    /// that nobody uses has a second chance on the inactive list. A read brings in what lies around the touched page, too,
    /// so that use is told apart by the fault-around.
    ///
    ///     inactive              in use: referenced     else: freed
    ///     inactive, referenced  in use: active         else: freed
    ///     active                in use: active         else: inactive
    ///
    /// What devices use is looked at on their lists, by their rules. A huge page is one page here. Reserved ones are on no list.
    ///
    /// - Returns: how many pages were freed, demoted ones among them, and how many moved.
    func visit(
        unit: Int, of node: Node, _ eviction: Eviction, isCancelled: () -> Bool = { false }
    ) -> (freed: Int, demoted: Int) {
        var result = (freed: 0, demoted: 0)
        for (id, bases) in leaves(inUnit: unit, of: node) {
            guard let buffer = buffer(id: id), buffer.hugeMode != .pool else { continue }
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

    /// The leaves that map frames of a unit, by their first pages, for each buffer. A hint only: nothing is locked.
    private func leaves(inUnit unit: Int, of node: Node) -> [(buffer: UInt64, bases: [UInt64])] {
        var found: [UInt64: Set<UInt64>] = [:]
        var last = FrameTable.free
        for frame in unit * HugePage.frames..<min((unit + 1) * HugePage.frames, node.span.count) {
            let leaf = node.frames.owner(of: frame)
            guard leaf != last, FrameTable.isTable(leaf) else { continue }
            last = leaf
            let (owner, base) = tables.location(of: leaf)
            found[owner, default: []].insert(base)
        }
        return found.sorted { $0.key < $1.key }.map { ($0.key, $0.value.sorted()) }
    }

    /// Whether any page is in a unit: else its visit is left out.
    func isEmpty(unit: Int, of node: Node) -> Bool {
        for frame in unit * HugePage.frames..<min((unit + 1) * HugePage.frames, node.span.count) {
            let leaf = node.frames.owner(of: frame)
            if FrameTable.isTable(leaf) { return false }
        }
        return true
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
        buffer.unmapTurn.wait()
        let found = buffer.state.withLock { state in
            // The buffer may have become one of reserved huge pages, or a contiguous one, meanwhile. Of a direct one nobody
            // knows which pages are in use.
            guard state.huge != .pool, state.contiguous == nil, state.backing == nil, !state.isPinned else {
                return Findings()
            }
            var found = Findings()
            var isHugeInUse: Bool?
            // A device's own memory never goes to another one's.
            let room = state.isDevice ? 0 : room
            for base in bases {
                let leaf = base..<base + UInt64(TablePool.entries)
                unsafe forEachMatch(leaf, filter: .frames(frames), in: state) { page, slot in
                    var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                    if entry.isHuge, isHugeInUse == nil {
                        let unit = HugePage.pages(around: page)
                        isHugeInUse = unit.contains { state.table[$0].isCached || state.table[$0].isAccessed }
                        if !state.contexts.isEmpty {
                            for page in unit where state.ageDevices(page) { isHugeInUse = true }
                        }
                    }
                    if !entry.isHuge, !state.contexts.isEmpty, state.ageDevices(page) {
                        // On a list of the device, which uses it.
                        node.counters.pressure.scanned.add(1)
                        node.counters.pressure.referenced.add(1)
                        return
                    }
                    let isInUse = entry.isHuge ? isHugeInUse! : entry.isCached || entry.isAccessed
                    entry.isAccessed = false
                    visit(
                        &entry, page: page, isInUse: isInUse, isZero: { unsafe isZero(slot) }, of: node, eviction,
                        room: room, &found)
                    unsafe slot.pointee = entry.rawValue
                }
            }
            return found
        }
        unmap(found.cached, of: buffer)
        buffer.unmapTurn.signal()
        var freed = 0
        for run in found.zeros.runs { freed += discard(buffer, pages: run, .zeros(node: node.index)) }
        var demoted = 0
        func demote(_ pages: Range<UInt64>, _ filter: PageFilter, to target: Node) {
            // What is cancelled stays here, as if it had been in use.
            let outcome = try? moveHoldingTurn(
                buffer, pages: pages, filter: filter, targets: [target], reason: .demotion, isCancelled: isCancelled)
            demoted += outcome?.moved ?? 0
        }
        for part in found.cold.batches {
            guard let target else { break }
            demote(part, .migrating, to: target)
        }
        for unit in found.huge.batches {
            let zeros = discard(buffer, pages: unit, .zeros(node: node.index))
            freed += zeros
            guard zeros == 0, let target, room >= HugePage.frames, buffer.fixedSize == nil else { continue }
            demote(unit, .frames(frames), to: target)
        }
        node.counters.pressure.reclaimed.add(freed + demoted)
        return (freed + demoted, demoted)
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
                    node.counters.active.add(1)
                    node.counters.pressure.activated.add(1)
                }
                entry.isReferenced.toggle()
            }
            guard entry.isCached else { return }
            entry.isCached = false
            entry.isUnmapping = true
            node.counters.cached.add(-1)
            found.cached.append(page)
        } else if entry.isActive {
            entry.isActive = false
            node.counters.active.add(-1)
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

    /// Notes that those of some pages that may be in the page cache are about to leave it: ``unmap(_:of:)`` does it. What is
    /// written back meanwhile does not bring them there, a read does. The caller holds the buffer's unmap turn and lock.
    func uncache(_ pages: Range<UInt64>, filter: PageFilter = .all, of state: inout Buffer.State) -> PageRuns {
        var runs = PageRuns()
        var uncached = PageTally()
        unsafe forEachMatch(pages, filter: filter, in: state) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            guard entry.isCached else { return }
            uncached.add(entry.pfn, in: self) { $0.counters.cached.add(-$1) }
            entry.isCached = false
            entry.isUnmapping = true
            unsafe slot.pointee = entry.rawValue
            runs.append(page)
        }
        uncached.flush { $0.counters.cached.add(-$1) }
        return runs
    }

    /// Takes what the page cache has of some pages out of it; false where somebody brings it back again and again. The
    /// caller holds the buffer's migration turn.
    func empty(_ buffer: Buffer, pages: Range<UInt64>) -> Bool {
        for _ in 0..<3 {
            let isEmpty = buffer.unmapTurn.withLock { _ in
                let cached = buffer.state.withLock { uncache(pages, of: &$0) }
                unmap(cached, of: buffer)
                return cached.runs.isEmpty
            }
            if isEmpty { return true }
        }
        return false
    }

    /// Takes pages out of the page cache that were marked for it, so that the next touch of each shows. The caller holds
    /// the buffer's migration turn, and its unmap turn since before they were marked.
    func unmap(_ pages: PageRuns, of buffer: Buffer) {
        guard !pages.runs.isEmpty else { return }
        for run in pages.runs {
            // Dirty ones in bulk, where that pays.
            if run.count >= Self.worthwhile { writeBack(buffer, pages: run, next: run.upperBound..<run.upperBound) }
            invalidate(buffer, pages: run)
        }
        buffer.state.withLock { state in
            for run in pages.runs {
                unsafe forEachMatch(run, filter: .unmapping, in: state) { _, slot in
                    var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                    entry.isUnmapping = false
                    unsafe slot.pointee = entry.rawValue
                }
            }
        }
    }
}

/// Pages of a buffer, gathered into runs.
struct PageRuns {
    private(set) var runs: [Range<UInt64>] = []

    /// Adds a page, which must be behind those that are there.
    mutating func append(_ page: UInt64) {
        if let last = runs.last, last.upperBound == page {
            runs[runs.count - 1] = last.lowerBound..<page + 1
        } else {
            runs.append(page..<page + 1)
        }
    }

    /// Ranges that have all of the pages, and perhaps others, each within a unit of 512 pages.
    var batches: [Range<UInt64>] {
        var batches: [Range<UInt64>] = []
        for run in runs {
            var page = run.lowerBound
            while page < run.upperBound {
                let unit = HugePage.pages(around: page)
                let end = min(run.upperBound, unit.upperBound)
                if let last = batches.last, last.lowerBound >= unit.lowerBound {
                    batches[batches.count - 1] = last.lowerBound..<end
                } else {
                    batches.append(page..<end)
                }
                page = end
            }
        }
        return batches
    }
}
