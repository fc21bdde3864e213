import CLinux
import Dispatch
import Glibc
import SystemPackage

/// Threads for jobs, one for each running job. An idle thread waits a while for the next job, because starting a thread
/// takes longer than many jobs.
public final class JobThreads: Sendable {
    /// The work of a thread.
    public typealias Work = @Sendable () -> Void

    private let idle = TracedMutex<[Worker]>([])

    /// No threads yet.
    public init() {}

    /// Runs `work` on a thread of its own, at once.
    ///
    /// It starts on the CPU of the caller, which usually only waits for the next request: a switch between threads
    /// takes a few microseconds, waking an idle CPU ten times as long. Afterwards it may move to another CPU.
    ///
    /// - Parameters:
    ///   - isShort: whether it must stay on that CPU, because the requests that it may wait for arrive there, too.
    ///   - work: what to do.
    public func run(isShort: Bool, _ work: @escaping Work) {
        if let worker = idle.withLock({ $0.popLast() }) {
            _ = clinux_put_on_cpu(worker.thread.withLock { $0 }, sched_getcpu())
            worker.give(work, isShort)
            return
        }
        let worker = Worker()
        worker.give(work, isShort)
        do throws(Errno) {
            try SystemThread { self.serve(worker) }.detach()
        } catch {
            // The host has no more threads; the queue has one when another ends.
            DispatchQueue(label: "cdmfs.job").start(work)
        }
    }

    /// Who waits for work.
    private final class Worker: Sendable {
        private static let idleTimeout = 10

        let thread = TracedMutex<Int32>(0)
        private let given = TracedMutex<(work: Work, isShort: Bool)?>(nil)
        private let wake = DispatchSemaphore(value: 0)

        func give(_ work: @escaping Work, _ isShort: Bool) {
            given.withLock { $0 = (work, isShort) }
            wake.signal()
        }

        /// Waits for work; nil where none comes for a while.
        func take() -> (work: Work, isShort: Bool)? {
            guard wake.wait(timeout: .now() + .seconds(Self.idleTimeout)) == .success else { return nil }
            return given.withLock { given in
                defer { given = nil }
                return given
            }
        }
    }

    private func serve(_ worker: Worker) {
        worker.thread.withLock { $0 = gettid() }
        // A ring that makes way for others may have started this thread; a job does not.
        if sched_getscheduler(getpid()) == SCHED_OTHER { _ = clinux_set_idle(0) }
        while true {
            if let (work, isShort) = worker.take() {
                if !isShort { _ = clinux_leave_cpu() }
                work()
                idle.withLock { $0.append(worker) }
            } else {
                let isGone = idle.withLock { idle in
                    guard let place = idle.firstIndex(where: { $0 === worker }) else { return false }
                    idle.remove(at: place)
                    return true
                }
                // Else the work comes just now.
                if isGone { return }
            }
        }
    }
}
