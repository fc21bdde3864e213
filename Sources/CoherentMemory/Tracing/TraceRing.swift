import CLinux
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// The memory of one stripe of the trace: a ring of events of which the newest stay.
///
/// Events have tickets, which count on when a stripe gets another ring.
@safe
final class TraceRing: @unchecked Sendable {
    // Unchecked: only an address of atomics.
    let slots: UnsafeMutablePointer<Atomic<UInt64>>
    let capacity: Int
    /// The ticket of the first event; set before the ring is in a stripe.
    private(set) var base: UInt64
    private let length: Int

    /// - Throws: ENOMEM where the host refuses address space.
    init(capacity: Int) throws(Errno) {
        length = capacity * TraceEvent.wordCount * MemoryLayout<UInt64>.stride
        // Zero words are atomics, and the host backs only what is used.
        let address = unsafe mmap(
            nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let address = unsafe address, unsafe address != MAP_FAILED else { throw Errno.last }
        unsafe slots = address.assumingMemoryBound(to: Atomic<UInt64>.self)
        self.capacity = capacity
        base = 0
    }

    deinit { unsafe munmap(slots, length) }

    /// Begins with a ticket.
    func begin(at ticket: UInt64) { base = ticket }

    /// The words of the event of a ticket. They are torn if the ring has come round meanwhile.
    func words(of ticket: UInt64) -> InlineArray<8, UInt64> {
        let slot = unsafe slots + Int((ticket - base) % UInt64(capacity)) * TraceEvent.wordCount
        var words = InlineArray<8, UInt64>(repeating: 0)
        for index in 0..<TraceEvent.wordCount { words[index] = unsafe slot[index].load(ordering: .relaxed) }
        return words
    }
}

/// A part of the trace that one thread at a time records to: mostly the one that runs on a CPU.
///
/// A thread that finds it taken, by one that lost the CPU within an event, goes on to the next stripe: no thread waits. What else
/// changes a stripe takes it in the same way.
@safe
struct TraceStripe: ~Copyable {
    /// Whether a thread has the stripe.
    let isTaken = Atomic(false)
    /// The ticket of the next event.
    let head = Atomic<UInt64>(0)
    /// Events for which no stripe was free; those of threads on this stripe's CPU.
    let dropped = Atomic<UInt64>(0)
    // Who has the stripe reads and changes the rest. Atomics, for the thread sanitizer takes a change of a field for one of the whole.
    private let slots = Atomic<UInt>(0)
    private let capacity = Atomic(0)
    private let place = Atomic(0)
    private let tests = Atomic<UInt>(0)
    private let testCount = Atomic(0)
    private let clock = Atomic<Int32>(CLOCK_MONOTONIC)
    /// Stripes of several CPUs share no line of a cache.
    private let padding = InlineArray<8, UInt64>(repeating: 0)

    func tryTake() -> Bool { !isTaken.exchange(true, ordering: .acquiring) }

    /// Waits until it has the stripe. Who records has it for some nanoseconds, unless it loses its CPU.
    func take() { while !tryTake() { sched_yield() } }

    func giveBack() { isTaken.store(false, ordering: .releasing) }

    // MARK: Who has it

    func setRing(_ ring: TraceRing) {
        slots.store(unsafe UInt(bitPattern: ring.slots), ordering: .relaxed)
        capacity.store(ring.capacity, ordering: .relaxed)
        place.store(0, ordering: .relaxed)
    }

    func removeRing() { slots.store(0, ordering: .relaxed) }

    func setTests(_ tests: UnsafeMutablePointer<TraceFilter.Test>?, count: Int) {
        self.tests.store(unsafe UInt(bitPattern: tests), ordering: .relaxed)
        testCount.store(count, ordering: .relaxed)
    }

    func setClock(_ clock: TraceClock) { self.clock.store(clock.id, ordering: .relaxed) }

    /// Appends an event that passes the filter.
    func append(_ event: TraceEvent, cpu: Int) {
        let count = testCount.load(ordering: .relaxed)
        if count > 0, let tests = unsafe UnsafePointer<TraceFilter.Test>(bitPattern: tests.load(ordering: .relaxed)),
            unsafe !TraceFilter.passes(event, tests, count: count)
        {
            return
        }
        guard
            let slots = unsafe UnsafeMutablePointer<Atomic<UInt64>>(bitPattern: slots.load(ordering: .relaxed))
        else { return }
        var event = event
        event.cpu = UInt16(truncatingIfNeeded: cpu)
        var time = timespec()
        unsafe clock_gettime(clock.load(ordering: .relaxed), &time)
        event.time = UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
        let words = event.words
        let ticket = head.load(ordering: .relaxed)
        let place = place.load(ordering: .relaxed)
        // Who reads any of the words below reads the head of now, or a later one.
        atomicMemoryFence(ordering: .releasing)
        let slot = unsafe slots + place * TraceEvent.wordCount
        for index in 0..<TraceEvent.wordCount { unsafe slot[index].store(words[index], ordering: .relaxed) }
        self.place.store(place + 1 == capacity.load(ordering: .relaxed) ? 0 : place + 1, ordering: .relaxed)
        // In one order with the look at what waits.
        head.store(ticket + 1, ordering: .sequentiallyConsistent)
    }
}
