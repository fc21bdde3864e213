import MachineTopology
import Synchronization

extension Machine {
    /// A touch of a marked page (do_numa_page() and should_numa_migrate_memory()). The caller holds the buffer's lock.
    func hintingFault(
        _ entry: inout PageTableEntry, page: UInt64, leaf: UInt32, in state: borrowing Buffer.State, origin: Origin
    ) {
        entry.isHinting = false
        let home = node(of: entry.pfn)
        home.counters.pressure.hintingFaults.add(1)
        guard let local = node(origin.node) else { return }
        if local === home { home.counters.pressure.localHintingFaults.add(1) }
        let mode = BalancingMode(rawValue: system.pressure.balancing.mode.load(ordering: .relaxed))
        guard !mode.isEmpty, home.allows(.numaBalancing) else { return }
        let isPromotion = mode.contains(.tiering) && !home.isTopTier
        guard isPromotion || mode.contains(.normal) else { return }
        let target =
            isPromotion ? hotPageTarget(&entry, on: home, local: local) : repeatedTarget(&entry, on: home, local: local)
        guard let target, target.allows(.numaBalancing), mayMove(to: target, in: state, origin: origin) else { return }
        if isPromotion { target.counters.pressure.promotionCandidates.add(1) }
        let first = entry.isHuge ? HugePage.pages(around: page).lowerBound : page
        system.pressure.balancing.enqueue(
            MisplacedPage(buffer: tables.location(of: leaf).owner, page: first, target: target.index))
    }

    /// The task's node, when the touch before this one came from there, too.
    private func repeatedTarget(_ entry: inout PageTableEntry, on home: Node, local: Node) -> Node? {
        let frame = home.index(of: entry.pfn)
        let isRepeated = entry.hasHint && home.frames.hint(of: frame) == UInt16(local.index)
        home.frames.setHint(of: frame, to: UInt16(local.index))
        entry.hasHint = true
        return isRepeated && local !== home && local.hasMemory ? local : nil
    }

    /// The nearest node of the fastest tiers, when this touch and the one before it came soon after the page was marked.
    private func hotPageTarget(_ entry: inout PageTableEntry, on home: Node, local: Node) -> Node? {
        let frame = home.index(of: entry.pfn)
        var hint = AccessHint(rawValue: home.frames.hint(of: frame))
        let threshold = system.pressure.balancing.hotThreshold.load(ordering: .relaxed)
        let isHot = entry.hasHint && hint.isHot(at: AccessHint.now, threshold: threshold)
        defer {
            hint.wasHot = isHot
            home.frames.setHint(of: frame, to: hint.rawValue)
        }
        return isHot && hint.wasHot ? promotionTarget(for: local) : nil
    }

    /// Whether policy and cpuset leave the place of the page open, as only the default policy does (mpol_misplaced()).
    private func mayMove(to target: Node, in state: borrowing Buffer.State, origin: Origin) -> Bool {
        let context = context(for: state, origin: origin)
        return !state.isDevice && context.policy.mode == .default && context.allows(target.index)
    }
}
