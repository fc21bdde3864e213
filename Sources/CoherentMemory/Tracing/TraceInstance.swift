import CLinux
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// Rings of events with a set of kinds, a filter and a clock of their own (the counterpart of an instance of tracefs and of
/// kernel/trace/ring_buffer.c).
///
/// The newest events stay until they are overwritten. Readers have cursors of their own and are told how many events each has lost.
@safe
public final class TraceInstance: @unchecked Sendable {
    // Unchecked: the stripes are made of atomics.
    let stripes: UnsafeMutablePointer<TraceStripe>
    /// The number of stripes, a power of two: two for each CPU, so that a thread that lost its CPU within an event is in no thread's way.
    let stripeCount: Int
    /// The kinds that are recorded, a bit each.
    private let kinds = Atomic<UInt32>(0)
    let settings: Mutex<Settings>

    /// The default size in kilobytes for each CPU, as in Linux.
    public static let defaultKilobytes = 1408
    /// The valid sizes in kilobytes for each CPU.
    public static let kilobyteRange = 4...262_144

    struct Settings {
        var kilobytes = TraceInstance.defaultKilobytes
        var clock = TraceClock.mono
        var filter = TraceFilter([])
        /// The rings in use; none before the first kind is enabled.
        var current: [TraceRing] = []
        /// The rings before these, each with its end, until the next change.
        var previous: [(ring: TraceRing, end: UInt64)] = []
        /// How far any reader has read, by stripe.
        var delivered: [UInt64]
        /// How many dropped events some reader was told of, by stripe.
        var reported: [UInt64]
    }

    /// An instance that records nothing.
    init() {
        let cpus = max(1, sysconf(Int32(_SC_NPROCESSORS_CONF)))
        var count = 2
        while count < 2 * cpus, count < 512 { count *= 2 }
        stripeCount = count
        unsafe stripes = .allocate(capacity: count)
        for index in 0..<count { unsafe (stripes + index).initialize(to: TraceStripe()) }
        let zeros = [UInt64](repeating: 0, count: count)
        settings = Mutex(Settings(delivered: zeros, reported: zeros))
    }

    deinit {
        installTests(TraceFilter([]))
        unsafe stripes.deinitialize(count: stripeCount)
        unsafe stripes.deallocate()
    }

    // MARK: Recording

    /// Records an event, if its kind is one of the instance's.
    func append(_ event: TraceEvent) {
        guard kinds.load(ordering: .relaxed) & 1 << UInt32(event.kind.rawValue) != 0 else { return }
        let cpu = Int(clinux_cpu())
        let home = 2 * cpu & (stripeCount - 1)
        for step in 0..<stripeCount {
            let stripe = unsafe stripes + ((home + step) & (stripeCount - 1))
            guard unsafe stripe.pointee.tryTake() else { continue }
            unsafe stripe.pointee.append(event, cpu: cpu)
            unsafe stripe.pointee.giveBack()
            return
        }
        unsafe stripes[home].dropped.wrappingAdd(1, ordering: .sequentiallyConsistent)
    }

    // MARK: Settings

    /// The kinds that are recorded.
    public var enabledKinds: TraceKinds { TraceKinds(rawValue: kinds.load(ordering: .relaxed)) }

    /// Changes the kinds that are recorded. The tracer calls it, which unites those of all instances.
    ///
    /// - Throws: ENOMEM if the host refuses the memory of the rings; then nothing changes.
    func updateKinds(_ change: (inout TraceKinds) -> Void) throws(Errno) {
        try settings.withLock { settings throws(Errno) in
            var new = enabledKinds
            change(&new)
            if settings.current.isEmpty, !new.isEmpty { try replaceRings(&settings, keepsEvents: false) }
            kinds.store(new.intersection(.all).rawValue, ordering: .relaxed)
        }
    }

    /// Begins to record for a reader, whose cursor begins behind all that was recorded for others.
    ///
    /// - Throws: ENOMEM if the host refuses the memory of the rings; then nothing is recorded.
    func begin(_ kinds: TraceKinds, kilobytes: Int, clock: TraceClock, filter: TraceFilter) throws(Errno) {
        try settings.withLock { settings throws(Errno) in
            settings.kilobytes = kilobytes
            settings.clock = clock
            settings.filter = filter
            installTests(filter)
            try replaceRings(&settings, keepsEvents: false)
            forEachStripe { index, stripe in
                settings.delivered[index] = stripe.head.load(ordering: .relaxed)
                settings.reported[index] = stripe.dropped.load(ordering: .relaxed)
            }
            self.kinds.store(kinds.rawValue, ordering: .relaxed)
        }
    }

    /// Ends what ``begin(_:kilobytes:clock:filter:)`` began, and frees the rings.
    func end() {
        settings.withLock { settings in
            kinds.store(0, ordering: .relaxed)
            // A thread that saw its kind a moment ago finds no ring.
            forEachStripe { _, stripe in stripe.removeRing() }
            (settings.current, settings.previous) = ([], [])
        }
    }

    /// The size of the rings in kilobytes for each CPU.
    public var kilobytes: Int { settings.withLock { $0.kilobytes } }

    /// Sets the size. What is recorded stays readable; readers that have not had it before the next change lose it.
    ///
    /// - Throws: EINVAL for a size outside of ``kilobyteRange``, ENOMEM if the host refuses the memory; then nothing changes.
    public func setKilobytes(_ kilobytes: Int) throws(Errno) {
        guard Self.kilobyteRange.contains(kilobytes) else { throw .invalidArgument }
        try settings.withLock { settings throws(Errno) in
            let old = settings.kilobytes
            settings.kilobytes = kilobytes
            guard !settings.current.isEmpty else { return }
            do throws(Errno) {
                try replaceRings(&settings, keepsEvents: true)
            } catch {
                settings.kilobytes = old
                throw error
            }
        }
    }

    /// The clock of events.
    public var clock: TraceClock { settings.withLock { $0.clock } }

    /// Sets the clock. What is recorded is erased, because its times are of the old clock, as in tracefs.
    ///
    /// - Throws: ENOMEM if the host refuses the memory; then nothing changes.
    public func setClock(_ clock: TraceClock) throws(Errno) {
        try settings.withLock { settings throws(Errno) in
            guard clock != settings.clock else { return }
            let old = settings.clock
            settings.clock = clock
            guard !settings.current.isEmpty else {
                forEachStripe { _, stripe in stripe.setClock(clock) }
                return
            }
            do throws(Errno) {
                try replaceRings(&settings, keepsEvents: false)
            } catch {
                settings.clock = old
                throw error
            }
        }
    }

    /// The filter of events. One without tests lets all through.
    public var filter: TraceFilter {
        get { settings.withLock { $0.filter } }
        set {
            settings.withLock { settings in
                settings.filter = newValue
                installTests(newValue)
            }
        }
    }

    /// Calls `body` with each stripe while no thread records to it.
    private func forEachStripe(_ body: (Int, borrowing TraceStripe) -> Void) {
        for index in 0..<stripeCount {
            unsafe stripes[index].take()
            unsafe body(index, stripes[index])
            unsafe stripes[index].giveBack()
        }
    }

    private var installed: UnsafeMutablePointer<TraceFilter.Test>?

    /// Gives every stripe the tests of a filter, and frees those before when no stripe has them any more.
    private func installTests(_ filter: TraceFilter) {
        var new: UnsafeMutablePointer<TraceFilter.Test>?
        if !filter.tests.isEmpty {
            let memory = UnsafeMutablePointer<TraceFilter.Test>.allocate(capacity: filter.tests.count)
            for (index, test) in filter.tests.enumerated() { unsafe (memory + index).initialize(to: test) }
            unsafe new = memory
        }
        forEachStripe { _, stripe in unsafe stripe.setTests(new, count: filter.tests.count) }
        unsafe installed?.deallocate()
        unsafe installed = new
    }

    private func replaceRings(_ settings: inout Settings, keepsEvents: Bool) throws(Errno) {
        let capacity = settings.kilobytes * 1024 / (TraceEvent.wordCount * 8)
        // Reserved before anything changes; the bases are known when the stripes are taken.
        var rings: [TraceRing] = []
        for _ in 0..<stripeCount { rings.append(try TraceRing(capacity: capacity)) }
        var ends: [UInt64] = []
        forEachStripe { index, stripe in
            let end = stripe.head.load(ordering: .relaxed)
            rings[index].begin(at: end)
            stripe.setRing(rings[index])
            stripe.setClock(settings.clock)
            ends.append(end)
        }
        settings.previous = keepsEvents ? Array(zip(settings.current, ends)).map { (ring: $0, end: $1) } : []
        settings.current = rings
    }
}
