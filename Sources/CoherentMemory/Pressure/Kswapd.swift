import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

extension Reclaimer {
    /// Pages freed between two looks at the watermarks.
    private static let cluster = 4096

    /// See ``Machine/runKswapd(isCancelled:waitForUse:)``.
    func runKswapd(
        isCancelled: () -> Bool, waitForUse: () -> Void
    ) {
        var schedule = KswapdSchedule()
        while !isCancelled() {
            balance(&schedule, isCancelled: isCancelled, waitForUse: waitForUse)
            if isCancelled() { return }
            nodes.kswapd.sleep(until: schedule.next)
        }
    }

    /// When nodes of which nothing could be demoted are tried again, by their places.
    struct KswapdSchedule {
        fileprivate var pauses: [Int: Duration] = [:]
        fileprivate var resumption: [Int: ContinuousClock.Instant] = [:]

        /// The first moment; nil for none.
        var next: ContinuousClock.Instant? { resumption.values.min() }

        /// Leaves out what was due before a moment.
        mutating func skip(to moment: ContinuousClock.Instant) { resumption = resumption.mapValues { max($0, moment) } }
    }

    /// Demotes pages of each node that wants it and whose time it is.
    func balance(_ schedule: inout KswapdSchedule, isCancelled: () -> Bool, waitForUse: () -> Void) {
        for node in nodes.all where node.wantsKswapd.load(ordering: .acquiring) {
            if let moment = schedule.resumption[node.index], moment > memory.clock.now { continue }
            schedule.resumption[node.index] = nil
            node.wantsKswapd.store(false, ordering: .sequentiallyConsistent)
            if balance(node, isCancelled: isCancelled, waitForUse: waitForUse) {
                schedule.pauses[node.index] = nil
            } else {
                let pause = min(max(.seconds(1), schedule.pauses[node.index, default: .zero] * 2), .seconds(60))
                schedule.pauses[node.index] = pause
                schedule.resumption[node.index] = memory.clock.now + pause
                node.wantsKswapd.store(true, ordering: .releasing)
            }
        }
    }

    /// Demotes pages of a node up to its high watermark, or that for promotion (balance_pgdat()); false where it fell short.
    func balance(_ node: Node, isCancelled: () -> Bool, waitForUse: () -> Void) -> Bool {
        let lacksRoom = node.lacksRoom.exchange(false, ordering: .relaxed)
        let (isShort, goal) = node.zone.withLock { zone in
            let goal = lacksRoom ? zone.watermarks.promo : zone.watermarks.high
            return (zone.allocator.freeCount < (lacksRoom ? goal : zone.wakeBelow), goal)
        }
        guard isShort else { return true }
        node.counters.pressure.kswapdRuns.add(1)
        let account = MigrationAccount(.demotion)
        let targets = IDSet(nodes.demotionTargets(of: node).map(\.id))
        let move = BackgroundMove(kind: .kswapd, from: [node.id], to: targets, account: account)
        return background.run(move) {
            account.expect(goal - node.freePages)
            return demote(from: node, to: goal, account, waitForUse: waitForUse) {
                isCancelled() || account.isCancelled
            }
        }
    }

    private func demote(
        from node: Node, to goal: Int, _ account: MigrationAccount, waitForUse: () -> Void, isCancelled: () -> Bool
    ) -> Bool {
        while !isCancelled(), nodes.isDemotionEnabled.load(ordering: .relaxed), node.allows(.reclaim) {
            let missing = goal - node.freePages
            guard missing > 0 else { return true }
            let wanted = min(missing, Self.cluster)
            do throws(Errno) {
                let freed = try reclaim(
                    wanted, of: node, demotingTo: nodes.demotionTargets(of: node), for: .kswapd, account: account,
                    isCancelled: isCancelled, waitForUse: waitForUse)
                if freed == 0 { return false }
            } catch {
                return error == .interrupted
            }
        }
        return true
    }
}
