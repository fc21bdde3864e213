import CLinux
import Glibc
import LinuxSupport
import Synchronization
import Testing

@testable import Fuse

/// Rings that make way for others.
@Suite struct RingKeeperTests {
    /// A thread on which somebody waits for requests that do not come, until `stop()`.
    @safe private final class Waiter: @unchecked Sendable {
        // Unchecked: `thread` is set before anybody else knows this.
        private let state = Monitor(false)
        private let body: @Sendable () -> Void
        private var thread = pthread_t()

        init(_ body: @escaping @Sendable () -> Void) {
            self.body = body
            unsafe pthread_create(
                &thread, nil,
                { argument in
                    let waiter = unsafe Unmanaged<Waiter>.fromOpaque(argument!).takeUnretainedValue()
                    waiter.body()
                    waiter.state.wait { $0 }
                    return nil
                }, Unmanaged.passUnretained(self).toOpaque())
        }

        func stop() {
            state.update { $0 = true }
            pthread_join(thread, nil)
        }
    }

    @Test("A ring that does not get to run is an ordinary thread again all the same")
    func starved() {
        let askers = AskerTable()
        guard askers.mayBeIdle else { return }
        let keeper = RingKeeper()
        let ring = Atomic<Int32>(0)
        for round in 1...2 {
            ring.store(0, ordering: .relaxed)
            let waiter = Waiter {
                var priority = RingPriority(askers, keeper, cpu: 0)
                while sched_getscheduler(0) == SCHED_OTHER {
                    // Somebody who asked elsewhere the last time.
                    _ = askers.note(7, on: 1)
                    priority.noteAsker(7)
                    priority.applyMoves()
                }
                ring.store(gettid(), ordering: .releasing)
            }
            defer { waiter.stop() }
            let isOrdinary = eventually {
                let thread = ring.load(ordering: .acquiring)
                return thread != 0 && sched_getscheduler(thread) == SCHED_OTHER
            }
            #expect(isOrdinary, "round \(round)")
        }
    }
}
