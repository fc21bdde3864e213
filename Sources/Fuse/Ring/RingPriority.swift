import CLinux
import Glibc
import Synchronization

/// On which CPU tasks made their last requests.
final class AskerTable: Sendable {
    private static let slotCount = 256

    /// Whether a ring's thread may become one of SCHED_IDLE, for it can become what it was again.
    let mayBeIdle = clinux_may_be_idle() != 0
    /// By thread: 32 bits of its number, 32 of the CPU. Written only by what changes it, so that rings share it.
    private let last = InlineArray<256, Atomic<UInt64>> { _ in Atomic(0) }

    /// Notes where a task asks; whether it asked elsewhere the last time.
    @inline(__always)
    func note(_ task: UInt32, on cpu: Int) -> Bool {
        let word = UInt64(task) << 32 | UInt64(cpu)
        let slot = Int(task) % Self.slotCount
        let before = last[slot].load(ordering: .relaxed)
        if before == word { return false }
        last[slot].store(word, ordering: .relaxed)
        return task != 0 && before >> 32 == UInt64(task)
    }
}

/// Sees to it that who asks over a ring stays on its CPU, where there are idle ones to be moved to.
///
/// When a ring's thread answers, its CPU is busy with that thread, so Linux wakes the task that asked on an idle CPU, if there
/// is one (select_idle_sibling()). There the next request wakes another ring, which sends the task back: every answer waits
/// until an idle CPU has woken up, 5 to 40 µs. A CPU on which nothing but SCHED_IDLE runs counts as idle, and the task stays.
/// But such a thread has to wait for every other thread that wants the CPU. So a ring is that only once it has seen tasks come from
/// elsewhere, which tells of idle CPUs, and only until its ``RingKeeper`` ends it: then it must see it again.
struct RingPriority {
    private static let movesUntilIdle = 3

    private let askers: AskerTable
    private let keeper: RingKeeper
    private let way = RingKeeper.Way()
    private let cpu: Int
    /// Tasks that came from elsewhere since `start`.
    private var moves = 0
    /// Milliseconds of ``RingKeeper/now``.
    private var start: UInt64 = 0

    init(_ askers: AskerTable, _ keeper: RingKeeper, cpu: Int) {
        self.askers = askers
        self.keeper = keeper
        self.cpu = cpu
    }

    /// To be called for each request, with the thread that made it, or 0.
    @inline(__always)
    mutating func noteAsker(_ task: UInt32) {
        if askers.note(task, on: cpu), askers.mayBeIdle, !way.isGiven { moves += 1 }
    }

    /// To be called on the ring's thread before answers are given to the kernel.
    @inline(__always)
    mutating func applyMoves() {
        if moves > 0 { change() }
    }

    private mutating func change() {
        let now = RingKeeper.now
        if now > start + RingKeeper.trust {
            // The first for a while.
            start = now
            moves = 1
        } else if moves >= Self.movesUntilIdle {
            moves = 0
            keeper.giveWay(way)
        }
    }

    /// To be called on the ring's thread before that ends.
    func end() { keeper.end(way) }
}
