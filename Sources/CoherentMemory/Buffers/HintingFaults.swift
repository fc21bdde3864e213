import LinuxSupport
import MachineTopology
import Synchronization

/// A page to move because of hinting faults.
struct MisplacedPage {
    var buffer: UInt64
    var page: UInt64
    /// The place of the node to move it to.
    var target: Int
}

/// Hinting faults, and the pages that they find misplaced until they are moved (do_numa_page() of mm/memory.c).
final class HintingFaults: Sendable {
    /// No more are kept: what does not fit is found again.
    private static let capacity = 16384

    let settings = Mutex(BalancingSettings())
    /// The mode once more, for the fault path.
    let mode = Atomic<UInt8>(0)
    let hotThreshold = Atomic<Int>(1000)
    let wakeUp = WakeUp()
    private let queue = Mutex<[MisplacedPage]>([])
    private let placer: Placer
    let clock: MachineClock

    init(_ placer: Placer, _ clock: MachineClock) {
        self.placer = placer
        self.clock = clock
    }

    func enqueue(_ page: MisplacedPage) {
        let isFirst = queue.withLock { queue in
            guard queue.count < Self.capacity else { return false }
            queue.append(page)
            return queue.count == 1
        }
        if isFirst { wakeUp.wake() }
    }

    func drain() -> [MisplacedPage] {
        queue.withLock { queue in
            defer { queue = [] }
            return queue
        }
    }

    func update(_ change: (inout BalancingSettings) -> Void) -> BalancingSettings {
        defer { wakeUp.wake() }
        return settings.withLock { settings in
            change(&settings)
            mode.store(settings.mode.rawValue, ordering: .relaxed)
            hotThreshold.store(settings.hotThreshold, ordering: .relaxed)
            return settings
        }
    }
}

extension HintingFaults {
    /// A touch of a marked page (do_numa_page() and should_numa_migrate_memory()). The caller holds the buffer's lock.
    func fault(
        _ entry: inout PageTableEntry, page: UInt64, in state: borrowing Buffer.State, origin: Origin
    ) {
        entry.isHinting = false
        let home = placer.map.node(of: entry.pfn)
        home.counters.pressure.hintingFaults.add(1)
        guard let local = placer.map.node(origin.node) else { return }
        if local === home { home.counters.pressure.localHintingFaults.add(1) }
        let mode = BalancingMode(rawValue: self.mode.load(ordering: .relaxed))
        guard !mode.isEmpty, home.allows(.numaBalancing) else { return }
        let isPromotion = mode.contains(.tiering) && !home.isTopTier
        guard isPromotion || mode.contains(.normal) else { return }
        let target =
            isPromotion ? hotPageTarget(&entry, on: home, local: local) : repeatedTarget(&entry, on: home, local: local)
        guard let target, target.allows(.numaBalancing), mayMove(page, to: target, in: state, origin: origin) else {
            return
        }
        if isPromotion { target.counters.pressure.promotionCandidates.add(1) }
        let first = entry.isHuge ? HugePage.pages(around: page).lowerBound : page
        enqueue(MisplacedPage(buffer: state.pages.table.owner, page: first, target: target.index))
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
        let threshold = hotThreshold.load(ordering: .relaxed)
        let isHot = entry.hasHint && hint.isHot(at: clock.milliseconds, threshold: threshold)
        defer {
            hint.wasHot = isHot
            home.frames.setHint(of: frame, to: hint.rawValue)
        }
        return isHot && hint.wasHot ? placer.map.promotionTarget(for: local) : nil
    }

    /// Whether policy and cpuset leave the place of the page open, as only the default policy does (mpol_misplaced()).
    private func mayMove(
        _ page: UInt64, to target: Node, in state: borrowing Buffer.State, origin: Origin
    ) -> Bool {
        let context = placer.context(for: state, at: page, origin: origin)
        return !state.isDevice && context.policy.mode == .default && context.allows(target.index)
    }
}

/// What the frame table remembers of a page on a slower tier: when it was marked, and whether it was hot before.
struct AccessHint {
    var rawValue: UInt16

    private static let hot: UInt16 = 1 << 15
    /// A page that was still marked when the scan came by again.
    private static let cold: UInt16 = 0x7fff
    /// In steps of 16 ms, of which 15 bits last for nine minutes.
    private static let shift = 4

    init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Marked now; `wasHot` is kept.
    init(markedAt milliseconds: Int, wasHot: Bool) {
        rawValue = UInt16(milliseconds >> Self.shift & 0x7fff)
        if rawValue == Self.cold { rawValue -= 1 }
        self.wasHot = wasHot
    }

    static let untouched = AccessHint(rawValue: cold)

    /// Whether the touch before this one was soon after the mark, too.
    var wasHot: Bool {
        get { rawValue & Self.hot != 0 }
        set { rawValue = newValue ? rawValue | Self.hot : rawValue & ~Self.hot }
    }

    /// Whether a touch now is sooner after the mark than a threshold, in milliseconds.
    func isHot(at milliseconds: Int, threshold: Int) -> Bool {
        let marked = Int(rawValue & ~Self.hot)
        guard marked != Int(Self.cold) else { return false }
        let age = (milliseconds >> Self.shift - marked) & 0x7fff
        return age << Self.shift < threshold
    }
}
