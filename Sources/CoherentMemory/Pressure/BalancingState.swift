import LinuxSupport
import Synchronization

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

/// A page to move because of hinting faults.
struct MisplacedPage {
    var buffer: UInt64
    var page: UInt64
    /// The place of the node to move it to.
    var target: Int
}

/// What balancing keeps between its steps.
final class BalancingState: Sendable {
    /// More wait for nobody: what does not fit is found again.
    private static let capacity = 16384

    let settings = Mutex(BalancingSettings())
    /// The mode once more, for the fault path.
    let mode = Atomic<UInt8>(0)
    let hotThreshold = Atomic<Int>(1000)
    let wakeUp = WakeUp()
    private let queue = Mutex<[MisplacedPage]>([])

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

    func update(_ change: (inout BalancingSettings) -> Void) {
        settings.withLock { settings in
            change(&settings)
            mode.store(settings.mode.rawValue, ordering: .relaxed)
            hotThreshold.store(settings.hotThreshold, ordering: .relaxed)
        }
        wakeUp.wake()
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

    /// Milliseconds of a clock that never goes back.
    static var now: Int {
        let (seconds, attoseconds) = epoch.duration(to: .now).components
        return Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000)
    }

    private static let epoch = ContinuousClock.now
}
