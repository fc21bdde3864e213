import Glibc
import LinuxSupport
import Synchronization
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
        /// Whether somebody runs the model.
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
    fileprivate func end(_ isCancelled: Bool) -> Bool {
        state.withLock { state in
            guard isCancelled || state.rates.correctable + state.rates.uncorrectable <= 0 else { return false }
            state.isRunning = false
            return true
        }
    }

    /// The time to the next error, from an exponential distribution, its kind, and a page of `pages`.
    fileprivate func next(of pages: Int) -> (delay: Duration, isCorrectable: Bool, page: Int) {
        state.withLock { state in
            let sum = state.rates.correctable + state.rates.uncorrectable
            let perSecond = sum * Double(pages) / Double(1 << (30 - Page.shift))
            let delay = -log(1 - Double.random(in: 0..<1, using: &state.random)) / max(perSecond, 1e-9)
            let isCorrectable = Double.random(in: 0..<sum, using: &state.random) < state.rates.correctable
            return (.seconds(min(delay, 1e9)), isCorrectable, Int.random(in: 0..<pages, using: &state.random))
        }
    }

    fileprivate func anyPage(of pages: Int) -> Int {
        state.withLock { Int.random(in: 0..<pages, using: &$0.random) }
    }

    /// Counts corrected errors of a page; true once they are too many.
    fileprivate func correct(_ count: UInt64, page: Int) -> Bool {
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

extension Machine {
    /// The physical address of a device address. The device's initial memory begins at 0; its range for added memory
    /// follows it.
    ///
    /// - Throws: EINVAL for an address that is not a multiple of 64, or not the device's (cxl_validate_poison_dpa()).
    public func physicalAddress(_ address: UInt64, of device: Device) throws(Errno) -> UInt64 {
        let span = device.node.span
        let page = address >> Page.shift
        guard address.isMultiple(of: 64), page < UInt64(span.base.count + span.window.count) else {
            throw .invalidArgument
        }
        let base = UInt64(span.base.count)
        let pfn = page < base ? span.base.lowerBound + page : span.window.lowerBound + page - base
        return pfn << Page.shift | address & (Page.size - 1)
    }

    /// The device address of a physical address of its memory.
    public func deviceAddress(_ address: UInt64, of device: Device) -> UInt64 {
        let span = device.node.span
        let pfn = address >> Page.shift
        let page =
            span.base.contains(pfn)
            ? pfn - span.base.lowerBound : UInt64(span.base.count) + pfn - span.window.lowerBound
        return page << Page.shift | address & (Page.size - 1)
    }

    /// Poisons a page of a device by its device address (cxl_inject_poison()); a poisoned page stays poisoned. Blocks
    /// as ``poison(address:reason:isCancelled:)`` does.
    ///
    /// - Throws: EINVAL for a bad address, ENXIO if there is no memory, EINTR when cancelled.
    public func injectPoison(
        _ address: UInt64, of device: Device, reason: FailureReason = .injected, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let address = try physicalAddress(address, of: device)
        guard device.isPresent else { throw .operationNotSupportedByDevice }
        do throws(Errno) {
            try poison(address: address, reason: reason, isCancelled: isCancelled)
        } catch .hardwarePoisoned {
            // It is what was asked for.
        }
        device.errors.countUncorrectable()
    }

    /// Injects corrected errors of a page. At the threshold the page is taken out of use, if possible.
    ///
    /// - Parameters:
    ///   - count: the number of errors, at least 1.
    ///   - address: a device address; nil for random ones.
    /// - Throws: EINVAL for a bad address, EINTR when cancelled.
    public func injectCorrectable(
        _ count: UInt64, at address: UInt64? = nil, of device: Device, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let pages = device.node.span.base.count
        guard let address else {
            for _ in 0..<count {
                if isCancelled() { throw .interrupted }
                let page = device.errors.anyPage(of: pages)
                correct(1, UInt64(page) << Page.shift, of: device, isCancelled: isCancelled)
            }
            return
        }
        _ = try physicalAddress(address, of: device)
        correct(count, address, of: device, isCancelled: isCancelled)
    }

    private func correct(_ count: UInt64, _ address: UInt64, of device: Device, isCancelled: () -> Bool) {
        guard let physical = try? physicalAddress(address, of: device) else { return }
        var event = PageFailure(kind: .correctable, physical >> Page.shift, device.node)
        event.count = count
        announce(.pageFailed(event))
        guard device.errors.correct(count, page: Int(address >> Page.shift)) else { return }
        // Pinned memory stays, as with rasdaemon; the next threshold tries again.
        try? softOffline(address: physical, isCancelled: isCancelled)
    }

    /// Makes errors at a device's rates until they are 0. Only for the caller that got true from
    /// ``ErrorModel/begin()``.
    public func runErrorModel(of device: Device, isCancelled: () -> Bool) {
        let errors = device.errors
        while !errors.end(isCancelled()) {
            let next = errors.next(of: device.node.span.base.count)
            let moment = ContinuousClock.now + next.delay
            let rates = errors.rates
            let seed = errors.seed
            while ContinuousClock.now < moment, !isCancelled(), errors.rates == rates, errors.seed == seed {
                errors.changed.sleep(until: moment)
            }
            guard errors.rates == rates, errors.seed == seed, !isCancelled(), device.isPresent else {
                // Nothing errs while it is away.
                if !device.isPresent { errors.changed.sleep(until: .now + .seconds(1)) }
                continue
            }
            let address = UInt64(next.page) << Page.shift
            if next.isCorrectable {
                correct(1, address, of: device, isCancelled: isCancelled)
            } else {
                try? injectPoison(address, of: device, reason: .internal, isCancelled: isCancelled)
            }
        }
    }
}

extension Device {
    /// Wakes the thread that runs the error model, so that it checks its cancellation.
    public func wakeErrorModel() { errors.changed.wake() }
}
