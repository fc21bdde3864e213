import LinuxSupport
import Synchronization

/// Counters of reclaim, demotion and promotion of a node: pages, or events. They only grow.
public struct PressureStatistics: Sendable, Hashable {
    /// Pages that the scanner examined (pgscan).
    public var scanned: UInt64 = 0
    /// Examined pages that were in use since the last scan.
    public var referenced: UInt64 = 0
    /// Pages put on the active list (pgactivate).
    public var activated: UInt64 = 0
    /// Pages put back on the inactive list (pgdeactivate).
    public var deactivated: UInt64 = 0
    /// Pages moved from here to a slower tier by kswapd (pgdemote_kswapd).
    public var demotedByKswapd: UInt64 = 0
    /// Pages moved from here to a slower tier by a write to `reclaim` (pgdemote_proactive).
    public var demotedProactively: UInt64 = 0
    /// Pages freed by reclaim, including demoted ones (pgsteal).
    public var reclaimed: UInt64 = 0
    /// The number of runs of kswapd on this node.
    public var kswapdRuns: UInt64 = 0
    /// Pages on slower tiers that were hot, and whose tasks are nearest to this node (pgpromote_candidate).
    public var promotionCandidates: UInt64 = 0
    /// Pages promoted to this node (pgpromote_success).
    public var promoted: UInt64 = 0
    /// Pages of the node that were marked so that the next touch is a hinting fault (numa_pte_updates).
    public var marked: UInt64 = 0
    /// Hinting faults at pages of the node (numa_hint_faults).
    public var hintingFaults: UInt64 = 0
    /// Those of the hinting faults by tasks that run on this node (numa_hint_faults_local).
    public var localHintingFaults: UInt64 = 0
    /// Pages that automatic balancing moved to this node (numa_pages_migrated).
    public var balanced: UInt64 = 0
}

/// The counters themselves.
struct PressureCounters: ~Copyable, Sendable {
    let scanned = Atomic<UInt64>(0)
    let referenced = Atomic<UInt64>(0)
    let activated = Atomic<UInt64>(0)
    let deactivated = Atomic<UInt64>(0)
    let demotedByKswapd = Atomic<UInt64>(0)
    let demotedProactively = Atomic<UInt64>(0)
    let reclaimed = Atomic<UInt64>(0)
    let kswapdRuns = Atomic<UInt64>(0)
    let promotionCandidates = Atomic<UInt64>(0)
    let promoted = Atomic<UInt64>(0)
    let marked = Atomic<UInt64>(0)
    let hintingFaults = Atomic<UInt64>(0)
    let localHintingFaults = Atomic<UInt64>(0)
    let balanced = Atomic<UInt64>(0)
}

extension Node {
    /// The counters of reclaim, demotion and promotion of the node.
    public var pressure: PressureStatistics {
        PressureStatistics(
            scanned: counters.pressure.scanned.load(ordering: .relaxed),
            referenced: counters.pressure.referenced.load(ordering: .relaxed),
            activated: counters.pressure.activated.load(ordering: .relaxed),
            deactivated: counters.pressure.deactivated.load(ordering: .relaxed),
            demotedByKswapd: counters.pressure.demotedByKswapd.load(ordering: .relaxed),
            demotedProactively: counters.pressure.demotedProactively.load(ordering: .relaxed),
            reclaimed: counters.pressure.reclaimed.load(ordering: .relaxed),
            kswapdRuns: counters.pressure.kswapdRuns.load(ordering: .relaxed),
            promotionCandidates: counters.pressure.promotionCandidates.load(ordering: .relaxed),
            promoted: counters.pressure.promoted.load(ordering: .relaxed),
            marked: counters.pressure.marked.load(ordering: .relaxed),
            hintingFaults: counters.pressure.hintingFaults.load(ordering: .relaxed),
            localHintingFaults: counters.pressure.localHintingFaults.load(ordering: .relaxed),
            balanced: counters.pressure.balanced.load(ordering: .relaxed))
    }
}
