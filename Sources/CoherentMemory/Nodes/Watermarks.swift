import LinuxSupport
import MachineTopology
import Synchronization

/// The numbers of free pages of a node at which reclaim starts and stops (enum zone_watermarks).
public struct Watermarks: Sendable, Hashable {
    /// Below it Linux allows only allocations that help to free memory. Here it only determines the distance of the
    /// others.
    public var min = 0
    /// kswapd starts below it.
    public var low = 0
    /// kswapd stops at it. A demotion or promotion never takes a target node below it.
    public var high = 0
    /// kswapd stops at it if hot pages could not be promoted for lack of room.
    public var promo = 0
}

extension NodeMap {
    /// Computes the watermarks of all nodes from their present pages (__setup_per_zone_wmarks() of mm/page_alloc.c),
    /// and who wakes kswapd. Called whenever one of these changes, without locks.
    ///
    /// The minimum of the machine is √(16 × kB of ordinary memory), from 128 kB to 256 MB, of which each ordinary zone
    /// has its share; a movable zone has a 1024th of its pages, from 32 to 128. Low is a quarter of the share, or a
    /// thousandth of the zone if that is more, above it; high and promo as much again each. For a machine of one node:
    ///
    ///     ordinary 4 GiB      min 2048   low 3096   high 4144   promo 5192   (pages)
    ///     movable 1 GiB       min 128    low 390    high 652    promo 914
    func updateWatermarks() {
        watermarkTurn.withLock { _ in
            let zones = all.map { node -> (normal: Int, movable: Int) in
                node.zone.withLock { zone in
                    guard node.allows(.node) else { return (0, 0) }
                    let normal = zone.normalBlocks * zone.framesPerBlock
                    return (normal, zone.present - normal)
                }
            }
            let lowMemory = zones.reduce(0) { $0 + $1.normal }
            let kilobytes = Int(Double(lowMemory * 4 * 16).squareRoot())
            let minimum = Swift.min(Swift.max(kilobytes, 128), 262_144) / 4
            for (node, zone) in zip(all, zones) {
                var marks = Watermarks()
                for (pages, isMovable) in [(zone.normal, false), (zone.movable, true)] where pages > 0 {
                    let share = lowMemory == 0 ? 0 : minimum * pages / lowMemory
                    let gap = Swift.max(share / 4, pages / 1000)
                    let min = isMovable ? Swift.min(Swift.max(pages / 1024, 32), 128) : share
                    marks.min += min
                    marks.low += min + gap
                    marks.high += min + 2 * gap
                    marks.promo += min + 3 * gap
                }
                let isReclaimable =
                    isDemotionEnabled.load(ordering: .relaxed) && node.allows(.reclaim) && hasDemotionTarget(node)
                node.zone.withLock { zone in
                    zone.watermarks = marks
                    zone.wakeBelow = isReclaimable ? marks.low : 0
                    node.wakeKswapd(zone)
                }
            }
        }
    }
}

extension Node {
    /// The numbers of free pages at which reclaim starts and stops.
    public var watermarks: Watermarks { zone.withLock { $0.watermarks } }

    var freePages: Int { zone.withLock { $0.allocator.freeCount } }

    /// How many pages may come by demotion or promotion, so that the node is then not short of memory itself.
    var room: Int { zone.withLock { allows(.node) ? max(0, $0.allocator.freeCount - $0.watermarks.high) : 0 } }

    /// Lets kswapd look at the node: pages that wanted to come found no room (wakeup_kswapd()).
    func requestKswapd() {
        zone.withLock { zone in
            // Never where it could do nothing.
            guard zone.wakeBelow > 0 else { return }
            lacksRoom.store(true, ordering: .relaxed)
            guard !wantsKswapd.exchange(true, ordering: .acquiringAndReleasing) else { return }
            kswapd.wake()
        }
    }

    /// Wakes kswapd if free memory is short. The caller holds the zone's lock.
    func wakeKswapd(_ zone: borrowing Zone) {
        guard zone.allocator.freeCount < zone.wakeBelow, !wantsKswapd.load(ordering: .relaxed) else { return }
        wantsKswapd.store(true, ordering: .releasing)
        kswapd.wake()
    }
}
