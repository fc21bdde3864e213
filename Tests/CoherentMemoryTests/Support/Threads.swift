import Glibc
import LinuxSupport
import Synchronization

@testable import CoherentMemory

/// Runs each body on a thread of its own and returns when all have ended. Threads rather than tasks: what blocks
/// must not hold up what it waits for, however few the CPUs.
func runThreads(_ bodies: [@Sendable () -> Void]) {
    final class Start: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var threads: [pthread_t] = []
    for body in bodies {
        var thread = pthread_t()
        let start = unsafe Unmanaged.passRetained(Start(body)).toOpaque()
        let error = unsafe pthread_create(
            &thread, nil,
            { start in
                unsafe Unmanaged<Start>.fromOpaque(start!).takeRetainedValue().body()
                return nil
            }, start)
        precondition(error == 0, "pthread_create: \(error)")
        threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
}

/// A latch between threads: one opens it, others wait for that.
@safe
final class Gate: @unchecked Sendable {
    // Unchecked: the semaphore is made for this.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { unsafe sem_init(semaphore, 0, 0) }

    deinit {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
    }

    func open() { unsafe sem_post(semaphore) }

    func wait() { while unsafe sem_wait(semaphore) != 0 {} }
}

/// Like the machine's, so that the thread sanitizer sees its order.
typealias Mutex = TracedMutex
