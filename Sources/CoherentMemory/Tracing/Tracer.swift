import LinuxSupport
import Synchronization
import SystemPackage

/// Records what happens to memory (the counterpart of kernel/trace).
///
/// To record takes no lock, waits for nothing and allocates nothing; while a kind is off it is one load and a branch. What is
/// recorded goes to every instance that records its kind: to ``main``, and to those of recorders and of `cdmfs top`.
@safe
public final class Tracer: @unchecked Sendable {
    // Unchecked: the instances stay where they are once they are counted, and the consumer is set before anything is recorded.
    /// The trace that users enable and read: sys/kernel/cdm/trace.
    public let main = TraceInstance()
    /// The further instances, in use or kept for the next reader: none is freed, so that recording needs no lock to walk them, and
    /// counts no references.
    private let instances: UnsafeMutablePointer<Unmanaged<TraceInstance>>
    private let instanceCount = Atomic(0)
    /// The kinds that any instance records, a bit each.
    private let kinds = Atomic<UInt32>(0)
    /// Guards what instances record. One that records nothing is not in use.
    private let changes = Mutex(())
    /// Whether a thread sleeps until there are events.
    private let isAwaited = Atomic(false)
    private let wakeUp = WakeUp()
    /// What gets the events in place of the instances.
    private var consumer: ((TraceEvent) -> Void)?

    /// The most instances in use at once beside ``main``.
    public static let instanceLimit = 16

    init() { unsafe instances = .allocate(capacity: Self.instanceLimit) }

    deinit {
        for index in 0..<instanceCount.load(ordering: .relaxed) { unsafe instances[index].release() }
        unsafe instances.deallocate()
    }

    // MARK: Recording

    /// Whether any instance records events of a kind.
    @inline(__always)
    func isEnabled(_ kind: TraceEvent.Kind) -> Bool {
        kinds.load(ordering: .relaxed) & (1 << UInt32(kind.rawValue)) != 0
    }

    /// Records an event of a kind that is enabled. Any lock may be held.
    @inline(never)
    func record(_ event: TraceEvent) {
        if let consumer { return consumer(event) }
        main.append(event)
        for index in 0..<instanceCount.load(ordering: .acquiring) {
            unsafe instances[index]._withUnsafeGuaranteedRef { $0.append(event) }
        }
        if isAwaited.load(ordering: .sequentiallyConsistent) { wakeUp.wake() }
    }

    /// Has all events go to a function, on the thread that records them and with locks of the machine held. To be called
    /// before anything is recorded, once; no instance gets events from then on.
    package func setConsumer(_ consumer: @escaping (TraceEvent) -> Void) {
        self.consumer = consumer
        kinds.store(TraceKinds.all.rawValue, ordering: .relaxed)
    }

    // MARK: Instances

    /// Changes the kinds that ``main`` records.
    ///
    /// - Throws: ENOMEM if the host refuses the memory of the rings; then nothing changes.
    public func updateEnabledKinds(_ change: (inout TraceKinds) -> Void) throws(Errno) {
        try changes.withLock { _ throws(Errno) in
            try main.updateKinds(change)
            uniteKinds()
        }
    }

    /// An instance of its own, which records from now on, until ``remove(_:)``.
    ///
    /// - Parameters:
    ///   - kinds: what it records; at least one.
    ///   - kilobytes: the size of its rings for each CPU.
    ///   - clock: the clock of its events.
    ///   - filter: what it lets through.
    /// - Throws: EBUSY if ``instanceLimit`` are in use, ENOMEM if the host refuses the memory of the rings.
    package func addInstance(
        _ kinds: TraceKinds, kilobytes: Int, clock: TraceClock = .mono, filter: TraceFilter = TraceFilter([])
    ) throws(Errno) -> TraceInstance {
        try changes.withLock { _ throws(Errno) in
            let count = instanceCount.load(ordering: .relaxed)
            let free = (0..<count).lazy.map(instance(at:)).first { $0.enabledKinds.isEmpty }
            guard free != nil || count < Self.instanceLimit else { throw .resourceBusy }
            let instance = free ?? TraceInstance()
            try instance.begin(kinds, kilobytes: kilobytes, clock: clock, filter: filter)
            if free == nil {
                unsafe (instances + count).initialize(to: .passRetained(instance))
                instanceCount.store(count + 1, ordering: .releasing)
            }
            uniteKinds()
            return instance
        }
    }

    /// Has an instance that ``addInstance(_:kilobytes:clock:filter:)`` gave record no more, and frees its rings. To be called once:
    /// the next reader gets the same instance.
    package func remove(_ instance: TraceInstance) {
        changes.withLock { _ in
            instance.end()
            uniteKinds()
        }
    }

    private func instance(at index: Int) -> TraceInstance { unsafe instances[index].takeUnretainedValue() }

    private func uniteKinds() {
        var union = main.enabledKinds
        // Those that are not in use record none.
        for index in 0..<instanceCount.load(ordering: .relaxed) {
            union.formUnion(instance(at: index).enabledKinds)
        }
        if consumer == nil { kinds.store(union.rawValue, ordering: .relaxed) }
    }

    // MARK: Waiting

    /// Sleeps until ``wake()`` or, if that is wanted, an event is recorded. Only one thread may sleep.
    ///
    /// - Parameters:
    ///   - isAwaiting: whether an event ends the sleep, too.
    ///   - isOver: asked before the sleep, when a thread that records is bound to wake.
    public func sleep(forEvents isAwaiting: Bool, unless isOver: () -> Bool) {
        isAwaited.store(isAwaiting, ordering: .sequentiallyConsistent)
        defer { isAwaited.store(false, ordering: .sequentiallyConsistent) }
        if isOver() { return }
        wakeUp.sleep(until: nil)
    }

    /// Ends the sleep that is, or the next one.
    public func wake() { wakeUp.wake() }
}
