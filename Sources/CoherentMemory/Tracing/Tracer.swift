import CLinux
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// Records what happens to memory (the counterpart of kernel/trace/ring_buffer.c).
///
/// To record takes no lock, waits for nobody and allocates nothing; while a kind is off it is one load and a branch. The newest
/// events stay until they are overwritten. Readers have cursors of their own and are told how many events each has lost.
@safe
public final class Tracer: @unchecked Sendable {
    // Unchecked: the stripes are made of atomics.
    private let stripes: UnsafeMutablePointer<TraceStripe>
    /// The number of stripes, a power of two: two for each CPU, so that a thread that lost its CPU within an event is in nobody's way.
    let stripeCount: Int
    /// The kinds that this tracer records, a bit each.
    private let own = Atomic<UInt32>(0)
    /// Those and the ones that its watch records.
    private let kinds = Atomic<UInt32>(0)
    /// The tracer of those who look on, with rings of its own (an instance of tracefs). What is recorded for them is in nobody's trace
    /// and takes no room there, and no filter applies to it.
    public let watch: Tracer?
    /// Whether somebody sleeps until there are events.
    private let isAwaited = Atomic(false)
    private let wakeUp = WakeUp()
    private let settings: Mutex<Settings>
    /// Who gets the events in place of the rings. Set before anything is recorded.
    private var consumer: ((TraceEvent) -> Void)?

    /// The default size in kilobytes for each CPU, as in Linux.
    public static let defaultKilobytes = 1408
    /// The valid sizes in kilobytes for each CPU.
    public static let kilobyteRange = 4...262_144

    /// The size of the rings of a watch: who looks on wants the newest events, and no more than can be shown.
    private static let watchKilobytes = 64

    private struct Settings {
        var kilobytes: Int
        var clock = TraceClock.mono
        var filter = TraceFilter([])
        /// The kinds that users have enabled.
        var wanted: TraceKinds = []
        /// How many want all of them meanwhile.
        var holders = 0
        /// The rings in use; none before the first kind is enabled.
        var current: [TraceRing] = []
        /// The rings before these, each with its end, until the next change.
        var previous: [(ring: TraceRing, end: UInt64)] = []
        /// How far any reader has read, by stripe.
        var delivered: [UInt64]
        /// How many dropped events some reader was told of, by stripe.
        var reported: [UInt64]
        /// How many look on.
        var watchers = 0
    }

    /// A tracer with a watch.
    convenience init() {
        self.init(kilobytes: Self.defaultKilobytes, watch: Tracer(kilobytes: Self.watchKilobytes, watch: nil))
    }

    private init(kilobytes: Int, watch: Tracer?) {
        self.watch = watch
        let cpus = max(1, sysconf(Int32(_SC_NPROCESSORS_CONF)))
        var count = 2
        while count < 2 * cpus, count < 512 { count *= 2 }
        stripeCount = count
        unsafe stripes = .allocate(capacity: count)
        for index in 0..<count { unsafe (stripes + index).initialize(to: TraceStripe()) }
        settings = Mutex(
            Settings(
                kilobytes: kilobytes, delivered: [UInt64](repeating: 0, count: count),
                reported: [UInt64](repeating: 0, count: count)))
    }

    deinit {
        installTests(TraceFilter([]))
        unsafe stripes.deinitialize(count: stripeCount)
        unsafe stripes.deallocate()
    }

    // MARK: Recording

    /// Whether events of a kind are recorded, for the trace or for those who look on.
    @inline(__always)
    func isEnabled(_ kind: TraceEvent.Kind) -> Bool {
        kinds.load(ordering: .relaxed) & (1 << UInt32(kind.rawValue)) != 0
    }

    /// Records an event of a kind that is enabled. Any lock may be held.
    @inline(never)
    func record(_ event: TraceEvent) {
        if let consumer { return consumer(event) }
        append(event)
        watch?.append(event)
        if isAwaited.load(ordering: .sequentiallyConsistent) { wakeUp.wake() }
    }

    private func append(_ event: TraceEvent) {
        guard own.load(ordering: .relaxed) & 1 << UInt32(event.kind.rawValue) != 0 else { return }
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

    /// The kinds that are recorded for the trace.
    public var enabledKinds: TraceKinds { TraceKinds(rawValue: own.load(ordering: .relaxed)) }

    /// Changes the kinds that are recorded. While somebody wants all, that takes effect when nobody does any more.
    ///
    /// - Throws: ENOMEM if the host refuses the memory of the rings; then nothing changes.
    public func updateEnabledKinds(_ change: (inout TraceKinds) -> Void) throws(Errno) {
        try settings.withLock { settings throws(Errno) in
            var new = settings.wanted
            change(&new)
            try setKinds(new.intersection(.all), &settings)
        }
    }

    private func setKinds(_ new: TraceKinds, _ settings: inout Settings) throws(Errno) {
        if settings.current.isEmpty, !new.isEmpty { try replaceRings(&settings, keepsEvents: false) }
        settings.wanted = new
        install(settings)
    }

    private func install(_ settings: borrowing Settings) {
        let new: TraceKinds = settings.holders > 0 ? .all : settings.wanted
        own.store(new.rawValue, ordering: .relaxed)
        uniteKinds()
    }

    private func uniteKinds() {
        kinds.store(enabledKinds.union(watch?.enabledKinds ?? []).rawValue, ordering: .relaxed)
    }

    /// Has all kinds recorded until as many calls of ``release()`` as of this have been made.
    ///
    /// - Throws: ENOMEM if the host refuses the memory of the rings; then nothing changes.
    package func hold() throws(Errno) {
        try settings.withLock { settings throws(Errno) in
            if settings.current.isEmpty { try replaceRings(&settings, keepsEvents: false) }
            settings.holders += 1
            install(settings)
        }
    }

    /// The end of what ``hold()`` began.
    package func release() {
        settings.withLock { settings in
            settings.holders -= 1
            install(settings)
        }
    }

    /// Has events recorded for those who look on, until as many calls of ``removeWatcher()``.
    ///
    /// - Throws: ENOMEM if the host refuses the memory of the rings; then nothing changes.
    public func addWatcher() throws(Errno) { try changeWatchers(by: 1) }

    /// Takes one of those away who look on.
    public func removeWatcher() {
        // Nothing is reserved for it, so it does not fail.
        try? changeWatchers(by: -1)
    }

    private func changeWatchers(by change: Int) throws(Errno) {
        // One lock after the other: whoever comes last unites what holds then.
        try watch?.settings.withLock { settings throws(Errno) in
            let watchers = settings.watchers + change
            try watch?.setKinds(watchers > 0 ? .live : [], &settings)
            settings.watchers = watchers
        }
        settings.withLock { _ in uniteKinds() }
    }

    /// Has all events go to a function, on the thread that records them and with locks of the machine held. To be called
    /// before anything is recorded, once; nothing is in the rings from then on.
    package func setConsumer(_ consumer: @escaping (TraceEvent) -> Void) {
        self.consumer = consumer
        kinds.store(TraceKinds.all.rawValue, ordering: .relaxed)
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

    /// Calls `body` with each stripe while nobody records to it.
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
        for index in 0..<stripeCount {
            unsafe stripes[index].take()
            let end = unsafe stripes[index].head.load(ordering: .relaxed)
            let ring = rings[index]
            ring.begin(at: end)
            unsafe stripes[index].setRing(ring)
            unsafe stripes[index].setClock(settings.clock)
            unsafe stripes[index].giveBack()
            ends.append(end)
        }
        settings.previous = keepsEvents ? Array(zip(settings.current, ends)).map { (ring: $0, end: $1) } : []
        settings.current = rings
    }

    // MARK: Reading

    /// A position in the trace, of one reader.
    public struct Cursor: Sendable {
        /// The ticket of the next event to copy, by stripe.
        fileprivate var next: [UInt64]
        /// The dropped events that the reader knows of, by stripe.
        fileprivate var dropped: [UInt64]
        /// Events lost and not told yet, by stripe.
        fileprivate var lost: [UInt64]
        /// Events copied and not taken yet, by stripe, the next one last.
        fileprivate var copied: [[TraceEvent]]
        fileprivate var copiedCount = 0
    }

    /// What a reader finds at its position.
    public enum Item: Sendable, Hashable {
        /// An event.
        case event(TraceEvent)
        /// Events that were overwritten before the reader had them, or that found no room; those of one stripe.
        case lost(stripe: Int, count: UInt64)
    }

    /// How many events of a stripe a reader copies at once.
    private static let copyLimit = 64

    /// A position behind all that any reader has had, so that the first reader begins with the oldest event.
    public func makeCursor() -> Cursor {
        settings.withLock { settings in
            Cursor(
                next: settings.delivered, dropped: settings.reported,
                lost: [UInt64](repeating: 0, count: stripeCount),
                copied: [[TraceEvent]](repeating: [], count: stripeCount))
        }
    }

    /// A position behind all that is recorded.
    public func makeCursorAtEnd() -> Cursor {
        var cursor = makeCursor()
        for index in 0..<stripeCount {
            cursor.next[index] = unsafe stripes[index].head.load(ordering: .sequentiallyConsistent)
            cursor.dropped[index] = unsafe stripes[index].dropped.load(ordering: .sequentiallyConsistent)
        }
        return cursor
    }

    /// Whether there is anything at a position.
    public func hasItem(at cursor: borrowing Cursor) -> Bool {
        if cursor.copiedCount > 0 { return true }
        for index in 0..<stripeCount {
            if cursor.lost[index] > 0 { return true }
            if unsafe stripes[index].head.load(ordering: .sequentiallyConsistent) > cursor.next[index] { return true }
            if unsafe stripes[index].dropped.load(ordering: .sequentiallyConsistent) > cursor.dropped[index] {
                return true
            }
        }
        return false
    }

    /// Takes what is at a position, as long as `body` wants it, and moves the position on. Events are in the order of their
    /// times, as far as they had been recorded when the reader copied them.
    ///
    /// - Parameter body: false to leave what it got for the next call.
    public func read(_ cursor: inout Cursor, _ body: (Item) -> Bool) {
        while true {
            copy(into: &cursor)
            for index in 0..<stripeCount where cursor.lost[index] > 0 {
                guard body(.lost(stripe: index, count: cursor.lost[index])) else { return }
                cursor.lost[index] = 0
            }
            guard let first = earliest(of: cursor) else { return }
            // Nothing is copied anew while a stripe has events left, so that one walk serves for many.
            var index = first
            repeat {
                guard let event = cursor.copied[index].last, body(.event(event)) else { return }
                cursor.copied[index].removeLast()
                cursor.copiedCount -= 1
                if cursor.copied[index].isEmpty { break }
                guard let next = earliest(of: cursor) else { break }
                index = next
            } while true
        }
    }

    /// The stripe with the earliest event.
    private func earliest(of cursor: borrowing Cursor) -> Int? {
        var found: (index: Int, time: UInt64)?
        for index in 0..<stripeCount {
            guard let event = cursor.copied[index].last else { continue }
            if found == nil || event.time < found!.time { found = (index, event.time) }
        }
        return found?.index
    }

    /// Copies events of stripes of which the reader has none left.
    private func copy(into cursor: inout Cursor) {
        settings.withLock { settings in
            for index in 0..<stripeCount where cursor.copied[index].isEmpty {
                copy(stripe: index, settings, into: &cursor)
                settings.delivered[index] = max(settings.delivered[index], cursor.next[index])
                settings.reported[index] = max(settings.reported[index], cursor.dropped[index])
            }
        }
    }

    private func copy(stripe index: Int, _ settings: borrowing Settings, into cursor: inout Cursor) {
        let dropped = unsafe stripes[index].dropped.load(ordering: .sequentiallyConsistent)
        cursor.lost[index] += dropped - cursor.dropped[index]
        cursor.dropped[index] = dropped
        guard !settings.current.isEmpty else { return }
        var events: [TraceEvent] = []
        func skip(to ticket: UInt64) {
            guard ticket > cursor.next[index] else { return }
            cursor.lost[index] += ticket - cursor.next[index]
            cursor.next[index] = ticket
        }
        let current = settings.current[index]
        if cursor.next[index] < current.base {
            if let (ring, end) = settings.previous.isEmpty ? nil : settings.previous[index] {
                // Nobody records to it any more.
                skip(to: max(ring.base, end - min(end, UInt64(ring.capacity))))
                while cursor.next[index] < end, events.count < Self.copyLimit {
                    if let event = TraceEvent(words: ring.words(of: cursor.next[index])) { events.append(event) }
                    cursor.next[index] += 1
                }
            } else {
                skip(to: current.base)
            }
        }
        if cursor.next[index] >= current.base {
            // The one place that may be written to just now has an event that is as good as gone.
            func oldest(at head: UInt64) -> UInt64 {
                head >= UInt64(current.capacity) ? head - UInt64(current.capacity) + 1 : 0
            }
            let head = unsafe stripes[index].head.load(ordering: .sequentiallyConsistent)
            while true {
                skip(to: max(current.base, oldest(at: head)))
                guard cursor.next[index] < head, events.count < Self.copyLimit else { break }
                let words = current.words(of: cursor.next[index])
                atomicMemoryFence(ordering: .acquiring)
                let now = unsafe stripes[index].head.load(ordering: .relaxed)
                if cursor.next[index] < oldest(at: now) {
                    // The next call finds it, and tells it behind these.
                    if !events.isEmpty { break }
                    skip(to: oldest(at: now))
                    // What has come since waits for the next call, so that a flood does not hold the reader here.
                    if cursor.next[index] >= head { break }
                    continue
                }
                if let event = TraceEvent(words: words) { events.append(event) }
                cursor.next[index] += 1
            }
        }
        cursor.copiedCount += events.count
        events.reverse()
        cursor.copied[index] = events
    }

    // MARK: Waiting

    /// Sleeps until somebody calls ``wake()`` or, if that is wanted, an event is recorded. Only one thread may sleep.
    ///
    /// - Parameter isOver: asked before the sleep, when whoever records is bound to wake.
    public func sleep(forEvents isAwaiting: Bool, unless isOver: () -> Bool) {
        isAwaited.store(isAwaiting, ordering: .sequentiallyConsistent)
        defer { isAwaited.store(false, ordering: .sequentiallyConsistent) }
        if isOver() { return }
        wakeUp.sleep(until: nil)
    }

    /// Ends the sleep that is, or the next one.
    public func wake() { wakeUp.wake() }
}
