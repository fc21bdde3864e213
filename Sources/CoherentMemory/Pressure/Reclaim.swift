import Glibc
import MachineTopology
import Synchronization
import SystemPackage

/// Who reclaims (the suffix of pgscan_* and pgdemote_*).
enum Reclaimer {
    /// The background thread.
    case kswapd
    /// A write to `reclaim`.
    case proactive
}

extension Machine {
    /// How long a page that was taken out of the page cache has to be touched again before it counts as unused.
    static let reuseTime = Duration.milliseconds(100)
    /// The fewest pages that the scanner visits before it waits for their use.
    private static let smallestWindow = 2048
    /// In two turns of the clock hand every page that nobody uses, active ones too, has had its turn.
    private static let turns = 2

    /// Frees unused pages of a node, the ones unused for longest first (nodeN/reclaim). Without swap these are pages of
    /// zeros, and, if a slower tier has room, pages that move there.
    ///
    /// Blocks until then; never call it from a thread that the page cache may wait for. Reserved huge pages are
    /// skipped; other huge pages are freed if they are zero as a whole, and moved as a whole. A target is never filled
    /// above its own high watermark.
    ///
    /// - Parameters:
    ///   - pages: the number of pages to free; slightly exceeded if a huge page moves.
    ///   - targets: nodes of slower tiers, the nearest first; empty to demote nothing.
    ///   - account: the account of the freed pages.
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
        account.expect(pages)
        return try reclaim(
            pages, of: node, demotingTo: targets, for: .proactive, account: account, isCancelled: isCancelled,
            waitForUse: waitForUse)
    }

    /// Sleeps for the time in which a page in use is touched again.
    public static func waitForUse() {
        usleep(UInt32(reuseTime.components.attoseconds / 1_000_000_000_000))
    }

    /// A clock with two hands: the first takes the pages of a window out of the page cache and frees what was not in it;
    /// the second follows when their users have had time to touch them again. The window doubles while it comes to
    /// nothing, as the priority of Linux's scans does.
    func reclaim(
        _ pages: Int, of node: Node, demotingTo targets: [Node], for reclaimer: Reclaimer,
        account: MigrationAccount? = nil, isCancelled: () -> Bool, waitForUse: () -> Void
    ) throws(Errno) -> Int {
        guard node.allows(.reclaim) else { return 0 }
        guard !node.isReclaiming.exchange(true, ordering: .acquiring) else { throw .resourceBusy }
        defer { node.isReclaiming.store(false, ordering: .releasing) }
        var freed = 0
        let units = node.span.count / HugePage.frames
        var left = units * Self.turns
        var size = max(Self.smallestWindow, 4 * min(pages, node.span.count))
        while freed < pages, left > 0 {
            // The pages of the turn before were just taken out of the cache once more.
            if left == units { waitForUse() }
            let window = nextWindow(of: node, pages: size, limit: (left - 1) % units + 1, passed: &left)
            if window.isEmpty { continue }
            let before = freed
            for isSecond in [false, true] where freed < pages {
                if isSecond { waitForUse() }
                for unit in window where freed < pages {
                    if isCancelled() { throw .interrupted }
                    let part = visit(
                        unit: unit, of: node, Eviction(limit: pages - freed, targets: targets), isCancelled: isCancelled
                    )
                    freed += part.freed
                    account?.add(MigrationResult(moved: part.freed))
                    count(part.demoted, demotedFrom: node, by: reclaimer)
                }
            }
            if freed == before { size *= 2 }
        }
        return freed
    }

    private func count(_ pages: Int, demotedFrom node: Node, by reclaimer: Reclaimer) {
        guard pages > 0 else { return }
        switch reclaimer {
        case .kswapd: node.counters.pressure.demotedByKswapd.add(pages)
        case .proactive: node.counters.pressure.demotedProactively.add(pages)
        }
    }

    /// Moves the hand of a node's clock on over some pages, and returns the units in use that it passed.
    private func nextWindow(of node: Node, pages: Int, limit: Int, passed left: inout Int) -> [Int] {
        let units = node.span.count / HugePage.frames
        var window: [Int] = []
        var unit = node.hand.load(ordering: .relaxed)
        var passed = 0
        while passed < limit, window.count * HugePage.frames < pages {
            if !isEmpty(unit: unit, of: node) { window.append(unit) }
            unit = (unit + 1) % units
            passed += 1
        }
        node.hand.store(unit, ordering: .relaxed)
        left -= passed
        return window
    }
}
