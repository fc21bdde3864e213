import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// The error rates of a device's memory.
public struct ErrorRates: Sendable, Hashable {
    /// Corrected errors per GiB and second.
    public var correctable = 0.0
    /// Uncorrected errors per GiB and second; each poisons a page.
    public var uncorrectable = 0.0
    /// The number of corrected errors of a page after which it is taken out of use; 0 for never (PAGE_CE_THRESHOLD of
    /// rasdaemon).
    public var threshold: UInt64 = 50

    /// The valid rates.
    public static let range = 0.0...1_000_000.0

    /// Rates of 0, and rasdaemon's threshold.
    public init() {}
}

/// The errors of a device's memory and link since the machine was made (the ras directory of a device).
public struct ErrorCounts: Sendable, Hashable {
    /// Errors that were corrected.
    public var correctable: UInt64 = 0
    /// Errors that poisoned a page, or hit a poisoned one.
    public var uncorrectable: UInt64 = 0
    /// Errors of the link, each followed by a recovery.
    public var link: UInt64 = 0
}

/// The errors of one device's memory: random by a seed, injected, and counted.
public final class ErrorModel: Sendable {
    private struct State {
        var rates = ErrorRates()
        var seed: UInt64 = 0
        var random = SplitMix64(seed: 0)
        var counts = ErrorCounts()
        /// Corrected errors of each page, by its place in the node.
        var corrected: [Int: UInt64] = [:]
        /// Whether a thread runs the model.
        var isRunning = false
    }

    private let state = Mutex(State())
    let changed = WakeUp()

    /// The error rates.
    public var rates: ErrorRates { state.withLock { $0.rates } }

    /// The counts of errors.
    public var counts: ErrorCounts { state.withLock { $0.counts } }

    /// The seed of the errors' places and times.
    public var seed: UInt64 {
        get { state.withLock { $0.seed } }
        set {
            state.withLock { state in
                state.seed = newValue
                state.random = SplitMix64(seed: newValue)
            }
            changed.wake()
        }
    }

    /// Changes rates.
    ///
    /// - Throws: ERANGE for one outside of ``ErrorRates/range``; then nothing changes.
    public func update(_ change: (inout ErrorRates) -> Void) throws(Errno) {
        try state.withLock { state throws(Errno) in
            var rates = state.rates
            change(&rates)
            for rate in [rates.correctable, rates.uncorrectable] where !ErrorRates.range.contains(rate) {
                throw .outOfRange
            }
            state.rates = rates
        }
        changed.wake()
    }

    /// Claims the model: true if it must run and does not run yet; then the caller runs it.
    public func begin() -> Bool {
        state.withLock { state in
            guard !state.isRunning, state.rates.correctable + state.rates.uncorrectable > 0 else { return false }
            state.isRunning = true
            return true
        }
    }

    /// Whether the model has nothing more to do, and so is no longer run.
    func end(_ isCancelled: Bool) -> Bool {
        state.withLock { state in
            guard isCancelled || state.rates.correctable + state.rates.uncorrectable <= 0 else { return false }
            state.isRunning = false
            return true
        }
    }

    /// The time to the next error, from an exponential distribution, its kind, and a page of `pages`.
    func next(of pages: Int) -> (delay: Duration, isCorrectable: Bool, page: Int) {
        state.withLock { state in
            let sum = state.rates.correctable + state.rates.uncorrectable
            let perSecond = sum * Double(pages) / Double(1 << (30 - Page.shift))
            let delay = -log(1 - Double.random(in: 0..<1, using: &state.random)) / max(perSecond, 1e-9)
            let isCorrectable = Double.random(in: 0..<sum, using: &state.random) < state.rates.correctable
            return (.seconds(min(delay, 1e9)), isCorrectable, Int.random(in: 0..<pages, using: &state.random))
        }
    }

    func anyPage(of pages: Int) -> Int {
        state.withLock { Int.random(in: 0..<pages, using: &$0.random) }
    }

    /// Counts corrected errors of a page; true once they are too many.
    func correct(_ count: UInt64, page: Int) -> Bool {
        state.withLock { state in
            state.counts.correctable += count
            let total = state.corrected[page, default: 0] + count
            let isTooMany = state.rates.threshold > 0 && total >= state.rates.threshold
            state.corrected[page] = isTooMany ? nil : total
            return isTooMany
        }
    }

    func countUncorrectable() { state.withLock { $0.counts.uncorrectable += 1 } }

    func countLinkErrors(_ count: UInt64) { state.withLock { $0.counts.link += count } }
}

extension Device {
    /// Wakes the thread that runs the error model, so that it checks its cancellation.
    public func wakeErrorModel() { errors.changed.wake() }
}
