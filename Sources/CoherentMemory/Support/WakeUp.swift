import CLinux
import Glibc
import Synchronization

/// What a thread sleeps on until there is work for it. To wake costs a look at a flag while the thread is awake or about
/// to be, and never waits.
@safe
final class WakeUp: @unchecked Sendable {
    // Unchecked: the semaphore is made for several threads.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    private let isPending = Atomic(false)

    init() { unsafe sem_init(semaphore, 0, 0) }

    deinit {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
    }

    /// Ends the sleep that is, or the next one. Any number of calls end one.
    func wake() {
        if !isPending.exchange(true, ordering: .sequentiallyConsistent) { unsafe sem_post(semaphore) }
    }

    /// Sleeps until a call of ``wake()``, or until a moment has come.
    func sleep(until moment: ContinuousClock.Instant?) {
        if let moment {
            let left = max(.zero, ContinuousClock.now.duration(to: moment))
            var time = timespec()
            unsafe clock_gettime(CLOCK_REALTIME, &time)
            let (seconds, attoseconds) = left.components
            let nanoseconds = time.tv_nsec + Int(attoseconds / 1_000_000_000)
            time.tv_sec += Int(seconds) + nanoseconds / 1_000_000_000
            time.tv_nsec = nanoseconds % 1_000_000_000
            guard unsafe sem_timedwait(semaphore, &time) == 0 else { return }
        } else {
            while unsafe sem_wait(semaphore) != 0 {}
        }
        // Before its caller looks for work, so that a thread which brings some later wakes again.
        _ = isPending.exchange(false, ordering: .sequentiallyConsistent)
    }
}
