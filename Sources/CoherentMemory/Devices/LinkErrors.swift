import LinuxSupport
import Synchronization
import SystemPackage

/// The state of a device's link.
public enum LinkState: String, Sendable, Hashable, CaseIterable {
    /// The link is up.
    case up
    /// The link is down, and the pages on the device are lost.
    case down
}

/// The treatment of tasks that map memory that is lost with a device's link.
public enum LossPolicy: String, Sendable, Hashable, CaseIterable {
    /// They get SIGBUS when they touch it.
    case touch
    /// They get SIGBUS at once (PR_MCE_KILL_EARLY).
    case sigbus
    /// They are killed at once.
    case sigkill
}

/// The link of a device as far as it fails.
final class LinkCondition: Sendable {
    private struct State {
        var state = LinkState.up
        var onLoss = LossPolicy.touch
        /// Nanoseconds that it takes to recover from an error.
        var retraining: UInt64 = 1_000_000
        var stalledUntil: ContinuousClock.Instant?
        var stalled: UInt64 = 0
    }

    private let word = Mutex(State())
    /// Asked at every read: whether there may be a stall.
    private let mayStall = Atomic(false)
    let isSevered = Atomic(false)

    var state: LinkState { word.withLock { $0.state } }

    /// Sets the state; false where it was so.
    func take(_ state: LinkState) -> Bool {
        word.withLock { word in
            defer { word.state = state }
            return word.state != state
        }
    }

    var onLoss: LossPolicy {
        get { word.withLock { $0.onLoss } }
        set { word.withLock { $0.onLoss = newValue } }
    }

    var retraining: UInt64 {
        get { word.withLock { $0.retraining } }
        set { word.withLock { $0.retraining = newValue } }
    }

    /// Nanoseconds that nothing went over the link.
    var stalled: UInt64 { word.withLock { $0.stalled } }

    func stall(_ errors: UInt64) {
        word.withLock { word in
            let time = errors * word.retraining
            word.stalled += time
            let start = max(.now, word.stalledUntil ?? .now)
            word.stalledUntil = start + .nanoseconds(Int64(clamping: time))
        }
        mayStall.store(true, ordering: .releasing)
    }

    /// How long the link carries nothing from now on; nil where it does.
    var stall: Duration? {
        guard mayStall.load(ordering: .acquiring) else { return nil }
        return word.withLock { word in
            guard let end = word.stalledUntil, end > .now else {
                word.stalledUntil = nil
                mayStall.store(false, ordering: .releasing)
                return nil
            }
            return end - .now
        }
    }
}

extension Device {
    /// Whether the link is up.
    public var linkState: LinkState { condition.state }

    /// The treatment of tasks that map memory that is lost with the link.
    public var onLoss: LossPolicy {
        get { condition.onLoss }
        set { condition.onLoss = newValue }
    }

    /// The time in nanoseconds for which the link is down after an error.
    public var retraining: UInt64 { condition.retraining }

    /// The valid values of ``retraining``.
    public static let retrainingRange: ClosedRange<UInt64> = 0...100_000_000

    /// Sets the time for which the link is down after an error.
    ///
    /// - Throws: ERANGE if it is not in ``retrainingRange``.
    public func setRetraining(_ nanoseconds: UInt64) throws(Errno) {
        guard Self.retrainingRange.contains(nanoseconds) else { throw .outOfRange }
        condition.retraining = nanoseconds
    }

    /// The total time in nanoseconds for which errors stall the link, including the remaining time of present ones.
    public var stalledNanoseconds: UInt64 { condition.stalled }

    /// How long the link still carries nothing; nil where it does.
    var stall: Duration? { condition.stall }

    /// Whether the device is gone because its link was cut, and has not been added again.
    internal(set) var isSevered: Bool {
        get { condition.isSevered.load(ordering: .acquiring) }
        set { condition.isSevered.store(newValue, ordering: .releasing) }
    }

    func takeLink(_ state: LinkState) -> Bool { condition.take(state) }
}
