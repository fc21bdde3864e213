import Synchronization

/// What the machine takes for the time, where its behaviour depends on it: the host's clock, or that of a trace.
final class MachineClock: Sendable {
    private let epoch = ContinuousClock.now
    /// Nanoseconds since the epoch; negative while the host's clock is in force.
    private let fixed = Atomic<Int64>(-1)

    var now: ContinuousClock.Instant {
        let fixed = fixed.load(ordering: .relaxed)
        return fixed < 0 ? .now : epoch + .nanoseconds(fixed)
    }

    /// Milliseconds since the epoch.
    var milliseconds: Int {
        let (seconds, attoseconds) = epoch.duration(to: now).components
        return Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000)
    }

    /// Nanoseconds since the epoch, of a clock that stands.
    var standing: Int64 { max(0, fixed.load(ordering: .relaxed)) }

    /// Has the clock stand from now on, at some nanoseconds since the epoch.
    func stand(at nanoseconds: Int64) { fixed.store(max(0, nanoseconds), ordering: .relaxed) }
}
