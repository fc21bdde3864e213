/// The mode of automatic NUMA balancing: the bits of /proc/sys/kernel/numa_balancing.
public struct BalancingMode: OptionSet, Sendable, Hashable {
    /// The number, 0 to 3.
    public let rawValue: UInt8

    /// A mode of some bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Pages move to the node whose tasks touch them twice in a row (NUMA_BALANCING_NORMAL, 1).
    public static let normal = BalancingMode(rawValue: 1)
    /// Hot pages of slower tiers are promoted (NUMA_BALANCING_MEMORY_TIERING, 2).
    public static let tiering = BalancingMode(rawValue: 2)
}

/// The settings of automatic NUMA balancing (/sys/kernel/debug/sched/numa_balancing).
public struct BalancingSettings: Sendable, Hashable {
    /// The mode.
    public var mode: BalancingMode = []
    /// Milliseconds from one slice of the scan to the next (scan_period_min_ms), 10 to 60000.
    public var scanPeriod = 1000
    /// Megabytes marked in a slice (scan_size_mb), 1 to 65536.
    public var scanSize = 256
    /// Milliseconds: a page that is touched within this time after it was marked is hot (hot_threshold_ms), 1 to 60000.
    public var hotThreshold = 1000

    /// The defaults given at each property, which are Linux's.
    public init() {}
}
