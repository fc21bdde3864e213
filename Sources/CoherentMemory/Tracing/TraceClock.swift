import CLinux
public import Glibc

/// The clock of events (trace_clock of tracefs).
public enum TraceClock: String, Sendable, Hashable, CaseIterable {
    /// Since the start of the host, without suspensions; it follows adjustments of its rate (CLOCK_MONOTONIC).
    case mono
    /// The same without adjustments (CLOCK_MONOTONIC_RAW).
    case monoRaw = "mono_raw"
    /// Since the start of the host, with suspensions (CLOCK_BOOTTIME).
    case boot
    /// Atomic time since 1970 (CLOCK_TAI).
    case tai

    /// The number of the clock for clock_gettime(2).
    public var id: clockid_t {
        switch self {
        case .mono: CLOCK_MONOTONIC
        case .monoRaw: CLOCK_MONOTONIC_RAW
        case .boot: CLOCK_BOOTTIME
        case .tai: CLOCK_TAI
        }
    }

    /// Its nanoseconds.
    package var now: UInt64 {
        var time = timespec()
        unsafe clock_gettime(id, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

extension Duration {
    /// Whole nanoseconds; 0 for what is negative.
    var traceNanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        return seconds < 0 || attoseconds < 0
            ? 0 : UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds) / 1_000_000_000
    }
}
