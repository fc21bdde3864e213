import LinuxSupport
import MachineTopology
import Synchronization

/// Automatic NUMA balancing: marks pages, and moves those that hinting faults find misplaced (kernel/sched/fair.c).
final class Balancer: MoverUser {
    let mover: Mover
    let hinting: HintingFaults
    let background: BackgroundMoves

    init(_ mover: Mover, _ background: BackgroundMoves) {
        self.mover = mover
        self.background = background
        hinting = mover.memory.hinting
    }
}

extension Balancer {
    /// See ``Machine/runBalancing(isCancelled:)``.
    func runBalancing(isCancelled: () -> Bool) {
        var schedule = ScanSchedule()
        while !isCancelled() {
            balance(&schedule, isCancelled: isCancelled)
            hinting.wakeUp.sleep(until: schedule.next)
        }
    }

    /// When the next slice is marked, and where.
    struct ScanSchedule {
        var position = ScanPosition()
        /// Nil while balancing is off.
        var next: ContinuousClock.Instant?
    }

    /// Moves what was found misplaced, and marks a slice if it is time.
    func balance(_ schedule: inout ScanSchedule, isCancelled: () -> Bool) {
        let settings = hinting.settings.withLock { $0 }
        moveMisplaced(isCancelled: isCancelled)
        guard !settings.mode.isEmpty else {
            schedule.next = nil
            return
        }
        let now = memory.clock.now
        guard schedule.next.map({ $0 <= now }) ?? true else { return }
        mark(
            settings.scanSize << (20 - Int(Page.shift)), settings.mode, from: &schedule.position,
            isCancelled: isCancelled)
        schedule.next = memory.clock.now + .milliseconds(settings.scanPeriod)
    }

    /// Where the scan goes on.
    struct ScanPosition {
        var buffer: UInt64 = 0
        var page: UInt64 = 0
    }

    /// Marks up to `count` pages, so that the next touch of each is a hinting fault (change_prot_numa()): of buffers
    /// under the default policy, on nodes that let it, and for tiering alone on slower tiers only.
    func mark(_ count: Int, _ mode: BalancingMode, from position: inout ScanPosition, isCancelled: () -> Bool) {
        let start = position.buffer
        var left = count
        // Buffers without pages take their time, too.
        var visits = max(count, Self.fewestVisits)
        var isWrapped = false
        while true {
            guard let buffer = memory.nextBuffer(from: position.buffer), !isWrapped || buffer.id < start else {
                if isWrapped || start == 0 { break }
                isWrapped = true
                position = ScanPosition()
                continue
            }
            if buffer.id != position.buffer { position = ScanPosition(buffer: buffer.id) }
            visits -= 1
            if visits < 0 { return }
            while let next = buffer.nextPage(from: position.page) {
                if left <= 0 || isCancelled() { return }
                let part = max(position.page, next)..<HugePage.pages(around: next).upperBound
                left -= buffer.migrationTurn.withLock { _ in
                    buffer.isAnonymous
                        ? note(part, of: buffer, mode) : buffer.unmapTurn.withLock { _ in mark(part, of: buffer, mode) }
                }
                position.page = part.upperBound
            }
            position = ScanPosition(buffer: buffer.id + 1)
        }
        // Every page has been looked at: the next slice begins anew.
        position = ScanPosition()
    }

    private static let fewestVisits = 4096

    private func mark(_ pages: Range<UInt64>, of buffer: Buffer, _ mode: BalancingMode) -> Int {
        var cached = PageRuns()
        var marked = 0
        let now = memory.clock.milliseconds
        buffer.state.withLock { state in
            guard !state.isDevice, !state.isPinned, state.huge != .pool, state.contiguous == nil,
                state.hasStorage, state.hasNoPolicy
            else {
                return
            }
            state.pages.update(pages) { page, entry in
                let node = nodes.node(of: entry.pfn)
                let usesTime = mode.contains(.tiering) && !node.isTopTier
                guard node.allows(.numaBalancing), usesTime || mode.contains(.normal) else { return }
                let frame = node.index(of: entry.pfn)
                if entry.isHinting {
                    // No buffer came since the last time.
                    if usesTime { node.frames.setHint(of: frame, to: AccessHint.untouched.rawValue) }
                } else if entry.isCached {
                    if usesTime {
                        let wasHot = entry.hasHint && AccessHint(rawValue: node.frames.hint(of: frame)).wasHot
                        let hint = AccessHint(markedAt: now, wasHot: wasHot)
                        node.frames.setHint(of: frame, to: hint.rawValue)
                        entry.hasHint = true
                    }
                    entry.isHinting = true
                    _ = entry.uncache()
                    node.counters.pressure.marked.add(1)
                    cached.append(page)
                    marked += 1
                }
            }
        }
        memory.unmap(cached, of: buffer)
        return marked
    }

    /// The same for a program's own memory, where a touch of a page that is there does not show: each page that the program has stored
    /// to since it was marked counts as one hinting fault, of the node on which the program runs now.
    private func note(_ pages: Range<UInt64>, of space: Buffer, _ mode: BalancingMode) -> Int {
        guard let use = memory.use(of: space, pages: [pages]) else { return 0 }
        let now = memory.clock.milliseconds
        return space.state.withLock { state in
            guard state.hasNoPolicy else { return 0 }
            var marked = 0
            var tally = PageTally(nodes)
            unsafe state.pages.forEachMatch(pages) { page, slot in
                var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                let node = nodes.node(of: entry.pfn)
                let usesTime = mode.contains(.tiering) && !node.isTopTier
                guard node.allows(.numaBalancing), usesTime || mode.contains(.normal) else { return }
                let frame = node.index(of: entry.pfn)
                if !entry.isHinting {
                    marked += 1
                    node.counters.pressure.marked.add(1)
                } else if use.stores.contains(where: { $0.pages.contains(page) }) {
                    for stores in use.stores where stores.pages.contains(page) {
                        hinting.fault(&entry, page: page, in: state, origin: stores.origin)
                    }
                } else {
                    if usesTime { node.frames.setHint(of: frame, to: AccessHint.untouched.rawValue) }
                    return unsafe tally.set(slot, to: entry)
                }
                entry.isHinting = true
                if usesTime {
                    let wasHot = entry.hasHint && AccessHint(rawValue: node.frames.hint(of: frame)).wasHot
                    node.frames.setHint(of: frame, to: AccessHint(markedAt: now, wasHot: wasHot).rawValue)
                    entry.hasHint = true
                }
                unsafe tally.set(slot, to: entry)
            }
            tally.flush(in: &state.pages)
            return marked
        }
    }

    /// Moves the pages that hinting faults found misplaced.
    func moveMisplaced(isCancelled: () -> Bool) {
        let misplaced = hinting.drain()
        guard !misplaced.isEmpty else { return }
        struct Batch: Hashable {
            let buffer: UInt64
            let unit: UInt64
            let target: Int
        }
        let batches = Dictionary(grouping: misplaced) {
            Batch(buffer: $0.buffer, unit: $0.page / UInt64(HugePage.frames), target: $0.target)
        }
        let account = MigrationAccount(.balancing)
        account.expect(misplaced.count)
        let targets = IDSet(batches.keys.map { nodes[$0.target].id })
        background.run(BackgroundMove(kind: .balancing, from: [], to: targets, account: account)) {
            func isOver() -> Bool { isCancelled() || account.isCancelled }
            for (batch, pages) in batches.sorted(by: { ($0.key.buffer, $0.key.unit) < ($1.key.buffer, $1.key.unit) }) {
                if isOver() { return }
                guard let buffer = memory.buffer(id: batch.buffer) else { continue }
                let moved = move(
                    Set(pages.map(\.page)), of: buffer, unit: batch.unit, to: nodes[batch.target], isCancelled: isOver)
                account.add(MigrationResult(moved: moved))
            }
        }
    }

    /// Returns how many pages moved.
    private func move(
        _ pages: Set<UInt64>, of buffer: Buffer, unit: UInt64, to target: Node, isCancelled: () -> Bool
    ) -> Int {
        // Promotion does not make the fast memory short; kswapd may make room for the next ones (migrate_balanced_pgdat()).
        let room = target.room
        guard target.allows(.numaBalancing), room >= pages.count else {
            if nodes.isDemotionEnabled.load(ordering: .relaxed), target.isTopTier { target.requestKswapd() }
            return 0
        }
        return buffer.migrationTurn.withLock { _ in
            let unit = unit * UInt64(HugePage.frames)..<(unit + 1) * UInt64(HugePage.frames)
            var promoted = 0
            let isAny = buffer.state.withLock { state in
                guard !state.isDevice, !state.isPinned, state.huge != .pool, state.hasNoPolicy else {
                    return false
                }
                var isAny = false
                state.pages.update(unit, filter: .notOn(target.span)) { page, entry in
                    guard pages.contains(entry.isHuge ? unit.lowerBound : page) else { return }
                    let node = nodes.node(of: entry.pfn)
                    guard node.allows(.numaBalancing), !entry.isHuge || room >= HugePage.frames else { return }
                    if !node.isTopTier, target.isTopTier { promoted += 1 }
                    entry.isMigrating = true
                    isAny = true
                }
                return isAny
            }
            guard isAny else { return 0 }
            let reason: MoveReason = promoted > 0 ? .promotion : .balancing
            let outcome = try? mover.moveHoldingTurn(
                buffer, pages: unit, filter: .migrating, targets: [target], reason: reason, isCancelled: isCancelled)
            let moved = outcome?.moved ?? 0
            target.counters.pressure.balanced.add(moved)
            if BalancingMode(rawValue: hinting.mode.load(ordering: .relaxed)).contains(.tiering) {
                target.counters.pressure.promoted.add(min(promoted, moved))
            }
            return moved
        }
    }
}
