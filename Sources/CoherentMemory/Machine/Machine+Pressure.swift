import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

extension Machine {
    /// The settings of automatic NUMA balancing; off by default.
    public var balancing: BalancingSettings {
        get { memory.hinting.settings.withLock { $0 } }
        set { updateBalancing { $0 = newValue } }
    }

    /// Changes settings of automatic NUMA balancing atomically.
    public func updateBalancing(_ change: (inout BalancingSettings) -> Void) {
        let settings = memory.hinting.update(change)
        trace.note(settings)
    }

    /// Marks pages slice by slice and moves those that hinting faults find misplaced, until cancelled (task_numa_work()
    /// and migrate_misplaced_folio()). While balancing is off it sleeps.
    ///
    /// Runs on a thread of its own, and only on one; ``wakeBackgroundWork()`` makes it check `isCancelled`.
    public func runBalancing(isCancelled: () -> Bool) { balancer.runBalancing(isCancelled: isCancelled) }

    /// Wakes the threads of ``runKswapd(isCancelled:waitForUse:)`` and ``runBalancing(isCancelled:)``.
    public func wakeBackgroundWork() {
        nodeMap.kswapd.wake()
        memory.hinting.wakeUp.wake()
    }

    /// Keeps memory free in the background until cancelled: while ``isDemotionEnabled``, demotes unused pages of each
    /// node whose free pages fall below its low watermark, until they reach the high one (kswapd() of mm/vmscan.c).
    ///
    /// Runs on a thread of its own, and only on one; ``wakeBackgroundWork()`` makes it check `isCancelled`. If nothing
    /// can be demoted it tries again after a second, then after two, up to a minute.
    public func runKswapd(
        isCancelled: () -> Bool, waitForUse: () -> Void = Machine.waitForUse
    ) {
        reclaimer.runKswapd(isCancelled: isCancelled, waitForUse: waitForUse)
    }

    /// Sleeps for the time in which a page in use is touched again.
    public static func waitForUse() {
        usleep(UInt32(Reclaimer.reuseTime.components.attoseconds / 1_000_000_000_000))
    }

    /// Frees unused pages of a node, the ones unused for longest first (nodeN/reclaim). Without swap these are pages of
    /// zeros, and, if a slower tier has room, pages that move there.
    ///
    /// Blocks until then; never call it from a thread that the page cache may wait for. Reserved huge pages are
    /// skipped; other huge pages are freed if they are zero as a whole, and moved as a whole. A target is never filled
    /// above its own high watermark.
    ///
    /// - Parameters:
    ///   - pages: the number of pages to free; slightly exceeded if a huge page moves.
    ///   - node: the node.
    ///   - targets: nodes of slower tiers, the nearest first; empty to demote nothing.
    ///   - account: the account of the freed pages.
    ///   - isCancelled: checked repeatedly.
    ///   - waitForUse: waits so that programs can touch the pages again.
    /// - Returns: the number of freed pages; it is smaller than requested if the others are in use, or no target has
    ///   room; 0 of a node that does not allow reclaim.
    /// - Throws: EBUSY while another call reclaims the node's memory, EINTR when cancelled; pages that are freed stay
    ///   freed.
    @discardableResult
    public func reclaim(
        _ pages: Int, of node: Node, demotingTo targets: [Node],
        account: MigrationAccount = MigrationAccount(.demotion), isCancelled: () -> Bool = { false },
        waitForUse: () -> Void = Machine.waitForUse
    ) throws(Errno) -> Int {
        trace.note(.reclaim, to: node, count: UInt64(clamping: pages), value: targets.isEmpty ? 0 : 1)
        return try reclaimer.reclaim(
            pages, of: node, demotingTo: targets, account: account, isCancelled: isCancelled, waitForUse: waitForUse)
    }

    /// Sets the observer of background moves. It is called without locks when one begins; the function that it returns
    /// is called at its end.
    public func setBackgroundObserver(_ observer: @escaping @Sendable (BackgroundMove) -> @Sendable () -> Void) {
        background.observer.withLock { $0 = observer }
    }

    /// The nodes to which pages of a node may be demoted: of the nearest slower tier that has any, then of the next,
    /// each by distance (next_demotion_node()). Only nodes that allow demotion to them are targets.
    public func demotionTargets(of node: Node) -> [Node] { nodeMap.demotionTargets(of: node) }

    /// Whether reclaim moves pages to slower tiers, and kswapd runs (numa/demotion_enabled).
    public var isDemotionEnabled: Bool {
        get { nodeMap.isDemotionEnabled.load(ordering: .relaxed) }
        set {
            nodeMap.isDemotionEnabled.store(newValue, ordering: .relaxed)
            trace.note(.demotion, newValue ? 1 : 0)
            nodeMap.updateWatermarks()
        }
    }
}
