import MachineTopology
import Synchronization
import SystemPackage

/// Who reclaims (the suffix of pgscan_* and pgdemote_*).
enum ReclaimCause {
    /// The background thread.
    case kswapd
    /// A write to `reclaim`.
    case proactive
}

/// Frees memory that is not in use (mm/vmscan.c).
final class Reclaimer: MoverUser {
    let mover: Mover
    let background: BackgroundMoves

    init(_ mover: Mover, _ background: BackgroundMoves) {
        self.mover = mover
        self.background = background
    }
}

extension Reclaimer {
    /// How long a page that was taken out of the page cache has to be touched again before it counts as unused.
    static let reuseTime = Duration.milliseconds(100)
    /// The fewest pages that the scanner visits before it waits for their use.
    private static let smallestWindow = 2048
    /// In two turns of the clock hand every page that is not in use, active ones too, has had its turn.
    private static let turns = 2

    /// See ``Machine/reclaim(_:of:demotingTo:account:isCancelled:waitForUse:)``.
    @discardableResult
    func reclaim(
        _ pages: Int, of node: Node, demotingTo targets: [Node],
        account: MigrationAccount = MigrationAccount(.demotion), isCancelled: () -> Bool = { false },
        waitForUse: () -> Void
    ) throws(Errno) -> Int {
        account.expect(pages)
        return try reclaim(
            pages, of: node, demotingTo: targets, for: .proactive, account: account, isCancelled: isCancelled,
            waitForUse: waitForUse)
    }

    /// A clock with two hands: the first takes the pages of a window out of the page cache and frees what was not in it;
    /// the second follows when their users have had time to touch them again. The window doubles while it comes to
    /// nothing, as the priority of Linux's scans does.
    func reclaim(
        _ pages: Int, of node: Node, demotingTo targets: [Node], for cause: ReclaimCause,
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
                    count(part.demoted, demotedFrom: node, by: cause)
                }
            }
            if freed == before { size *= 2 }
        }
        return freed
    }

    private func count(_ pages: Int, demotedFrom node: Node, by cause: ReclaimCause) {
        guard pages > 0 else { return }
        switch cause {
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
            if !node.isEmpty(unit: unit) { window.append(unit) }
            unit = (unit + 1) % units
            passed += 1
        }
        node.hand.store(unit, ordering: .relaxed)
        left -= passed
        return window
    }
}
