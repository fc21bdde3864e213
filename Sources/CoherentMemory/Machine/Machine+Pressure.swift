import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

extension Machine {
    /// How automatic NUMA balancing goes about it; off to begin with.
    public var balancing: BalancingSettings {
        get { memory.hinting.settings.withLock { $0 } }
        set { updateBalancing { $0 = newValue } }
    }

    /// Changes settings of automatic NUMA balancing, with no other change in between.
    public func updateBalancing(_ change: (inout BalancingSettings) -> Void) {
        memory.hinting.update(change)
    }

    /// Marks pages slice by slice and moves those that hinting faults find misplaced, until cancelled (task_numa_work()
    /// and migrate_misplaced_folio()). While balancing is off it sleeps.
    ///
    /// For a thread of its own, and only one; ``wakeBackgroundWork()`` makes it look at `isCancelled`.
    public func runBalancing(isCancelled: () -> Bool) { balancer.runBalancing(isCancelled: isCancelled) }

    /// Wakes the threads of ``runKswapd(isCancelled:waitForUse:)`` and ``runBalancing(isCancelled:)``.
    public func wakeBackgroundWork() {
        nodeMap.kswapd.wake()
        memory.hinting.wakeUp.wake()
    }

    /// Keeps memory free in the background until cancelled: demotes unused pages of each node whose free pages fell
    /// below its low watermark until they reach the high one, while ``isDemotionEnabled`` (kswapd() of mm/vmscan.c).
    ///
    /// For a thread of its own, and only one; ``wakeBackgroundWork()`` makes it look at `isCancelled`. Where nothing can
    /// be demoted it tries again after a second, then after two, up to a minute.
    public func runKswapd(
        isCancelled: () -> Bool, waitForUse: () -> Void = Machine.waitForUse
    ) {
        reclaimer.runKswapd(isCancelled: isCancelled, waitForUse: waitForUse)
    }

    /// Sleeps for as long as a page has to be touched again.
    public static func waitForUse() {
        usleep(UInt32(Reclaimer.reuseTime.components.attoseconds / 1_000_000_000_000))
    }

    /// Frees pages of a node that nobody uses, the ones unused for longest first (nodeN/reclaim). Without swap that is what
    /// holds nothing but zeros, and, if there is a slower tier to take them, pages moved there.
    ///
    /// Blocks until then; never call it from a thread that the page cache may wait for. Reserved huge pages are not
    /// touched; other ones are freed if all of them is zero, and moved as a whole. A target is never filled above its own
    /// high watermark.
    ///
    /// - Parameters:
    ///   - pages: how many to free; a little more where a huge page is moved.
    ///   - targets: nodes of slower tiers, the nearest first; none to leave pages where they are.
    ///   - account: what is freed is added to.
    ///   - waitForUse: lets those who use pages touch them again.
    /// - Returns: how many pages were freed, less than asked when the others are in use, or there is nowhere to go; none of
    ///   a node that does not let it.
    /// - Throws: EBUSY while somebody else reclaims the node's memory, EINTR when cancelled; what was freed stays free.
    @discardableResult
    public func reclaim(
        _ pages: Int, of node: Node, demotingTo targets: [Node],
        account: MigrationAccount = MigrationAccount(.demotion), isCancelled: () -> Bool = { false },
        waitForUse: () -> Void = Machine.waitForUse
    ) throws(Errno) -> Int {
        try reclaimer.reclaim(
            pages, of: node, demotingTo: targets, account: account, isCancelled: isCancelled, waitForUse: waitForUse)
    }

    /// Sets who is told of what the machine moves of its own accord. Called without locks when it begins; what that returns
    /// is called at its end.
    public func setBackgroundObserver(_ observer: @escaping @Sendable (BackgroundMove) -> @Sendable () -> Void) {
        background.observer.withLock { $0 = observer }
    }

    /// The nodes that pages of a node may be demoted to: of the nearest slower tier that has any, then of the next, each by
    /// distance (next_demotion_node()). Only nodes that let it are targets.
    public func demotionTargets(of node: Node) -> [Node] { nodeMap.demotionTargets(of: node) }

    /// Whether reclaim moves pages to slower tiers instead of leaving them, and kswapd works (numa/demotion_enabled).
    public var isDemotionEnabled: Bool {
        get { nodeMap.isDemotionEnabled.load(ordering: .relaxed) }
        set {
            nodeMap.isDemotionEnabled.store(newValue, ordering: .relaxed)
            nodeMap.updateWatermarks()
        }
    }
}
