import LinuxSupport
import Synchronization

/// The allocation counters of a node: `numastat`, and refusals of isolation. They only grow.
public struct NodeStatistics: Sendable, Hashable {
    /// Pages allocated here as intended.
    public var hit: UInt64 = 0
    /// Pages allocated here though another node was preferred.
    public var miss: UInt64 = 0
    /// Pages intended for this node and allocated on another.
    public var foreign: UInt64 = 0
    /// Interleaved pages allocated here as intended.
    public var interleaveHit: UInt64 = 0
    /// Pages allocated here for a task that ran on this node.
    public var local: UInt64 = 0
    /// Pages allocated here for a task that ran elsewhere.
    public var other: UInt64 = 0
    /// Requests that isolation kept from falling back to this node.
    public var refusedFallback: UInt64 = 0
    /// Requests that named this node for a task that may not use it.
    public var refusedNotAllowed: UInt64 = 0
    /// Requests for a reserved huge page that isolation kept from this node's.
    public var refusedHugePages: UInt64 = 0
}

/// The memory failures of a node by their outcome (struct memory_failure_stats): pages, counted at each failure and
/// never decreased.
public struct MemoryFailureStatistics: Sendable, Hashable {
    /// All failures: the sum of the others.
    public var total: UInt64 = 0
    /// Ignored, because the page cannot be handled.
    public var ignored: UInt64 = 0
    /// Handling failed: the page is still in use.
    public var failed: UInt64 = 0
    /// Delayed until the page is touched again.
    public var delayed: UInt64 = 0
    /// The page is out of use.
    public var recovered: UInt64 = 0
}

/// The counters themselves: bumped at every fault, so atomic rather than under the node's lock.
struct NodeCounters: ~Copyable, Sendable {
    let hit = Atomic<UInt64>(0)
    let miss = Atomic<UInt64>(0)
    let foreign = Atomic<UInt64>(0)
    let interleaveHit = Atomic<UInt64>(0)
    let local = Atomic<UInt64>(0)
    let other = Atomic<UInt64>(0)
    let refusedFallback = Atomic<UInt64>(0)
    let refusedNotAllowed = Atomic<UInt64>(0)
    let refusedHugePages = Atomic<UInt64>(0)
    /// Huge pages that buffers have, apart from reserved ones.
    let huge = Atomic<Int>(0)
    /// Pages of programs' own memory.
    let anonymous = Atomic<Int>(0)
    /// Pages on the active list, without those of programs' own memory.
    let active = Atomic<Int>(0)
    /// Pages of programs' own memory on the active list.
    let activeAnonymous = Atomic<Int>(0)
    let pressure = PressureCounters()
    let memoryFailures = TracedMutex(MemoryFailureStatistics())
    /// Pages that may be in the kernel's page cache.
    let cached = Atomic<Int>(0)
    /// Pages that were stored to.
    let written = Atomic<Int>(0)

    var statistics: NodeStatistics {
        NodeStatistics(
            hit: hit.load(ordering: .relaxed), miss: miss.load(ordering: .relaxed),
            foreign: foreign.load(ordering: .relaxed), interleaveHit: interleaveHit.load(ordering: .relaxed),
            local: local.load(ordering: .relaxed), other: other.load(ordering: .relaxed),
            refusedFallback: refusedFallback.load(ordering: .relaxed),
            refusedNotAllowed: refusedNotAllowed.load(ordering: .relaxed),
            refusedHugePages: refusedHugePages.load(ordering: .relaxed))
    }
}

extension Atomic<UInt64> {
    func add(_ count: Int) { wrappingAdd(UInt64(count), ordering: .relaxed) }
}

extension Atomic<Int> {
    func add(_ count: Int) { wrappingAdd(count, ordering: .relaxed) }
}
