import CLinux
import Glibc
import LinuxSupport
import Synchronization

/// Makes threads that gave way ordinary ones again.
///
/// One of SCHED_IDLE does not run for seconds where others want all of its CPU, and so cannot end that itself: another thread
/// does. It runs only while a ring gives way.
@safe
final class RingKeeper: Sendable {
    /// Milliseconds for which a thread gives way, and at most as many again.
    static let trust: UInt64 = 20

    /// How a thread stands.
    final class Way: Sendable {
        /// 0 for a thread of the ordinary class. Else twice the time from which on it is to be that again, in milliseconds of
        /// ``RingKeeper/now``, and 1 once it has become one of SCHED_IDLE.
        fileprivate let word = Atomic<UInt64>(0)
        fileprivate let thread = Atomic<Int32>(0)

        /// Whether the thread gives way.
        var isGiven: Bool { word.load(ordering: .relaxed) != 0 }
    }

    @safe private struct State {
        var ways: [Way] = []
        var thread: SystemThread?
        var isStopping = false
    }

    private let state = Monitor(State())

    deinit {
        let thread = state.update { state -> SystemThread? in
            state.isStopping = true
            return state.thread
        }
        thread?.join()
    }

    /// Milliseconds of a clock that never goes back.
    static var now: UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
        return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
    }

    /// Makes the calling thread, which is an ordinary one, one of SCHED_IDLE for a while.
    func giveWay(_ way: Way) {
        let until = (Self.now + Self.trust) << 1
        let isKept = state.update { state in
            if state.thread == nil, !start(&state) { return false }
            if !state.ways.contains(where: { $0 === way }) { state.ways.append(way) }
            way.thread.store(gettid(), ordering: .relaxed)
            way.word.store(until, ordering: .relaxed)
            return true
        }
        guard isKept else { return }
        // From here on it may not run for long. Until it has said that it is there, the keeper does not let go of it.
        way.word.store(clinux_set_idle(1) == 0 ? until | 1 : 0, ordering: .releasing)
    }

    /// Makes the calling thread an ordinary one for good.
    func end(_ way: Way) {
        if way.isGiven { _ = clinux_set_idle(0) }
        state.withLock { state in
            state.ways.removeAll { $0 === way }
            way.word.store(0, ordering: .relaxed)
        }
    }

    // MARK: The keeper's thread

    private func start(_ state: inout State) -> Bool {
        // Not a reference of the thread's own: the last other one ends it.
        let keeper = unsafe Unmanaged.passUnretained(self)
        state.thread = try? SystemThread { unsafe keeper._withUnsafeGuaranteedRef { $0.run() } }
        return state.thread != nil
    }

    private func run() {
        clinux_be_like_first()
        var isStopping = false
        while !isStopping {
            state.wait { $0.isStopping || $0.ways.contains(where: \.isGiven) }
            isStopping = state.wait(milliseconds: Int(Self.trust)) { $0.isStopping }
            // Within the lock, for a thread that has ended is not to be mistaken for the next with its number.
            state.withLock { state in state.ways.forEach(Self.expire) }
        }
    }

    private static func expire(_ way: Way) {
        let word = way.word.load(ordering: .acquiring)
        guard word != 0, word >> 1 <= now else { return }
        var none = sched_param()
        _ = unsafe sched_setscheduler(way.thread.load(ordering: .relaxed), SCHED_OTHER, &none)
        if word & 1 != 0 { _ = way.word.compareExchange(expected: word, desired: 0, ordering: .relaxed) }
    }
}
