import CLinux
public import Dispatch

extension DispatchQueue {
    /// Runs `work` as `async` does, on a thread with the CPUs and the class of an ordinary thread of the process.
    ///
    /// Threads of the pool inherit from the thread that has them started. From a ring that serves requests they would
    /// inherit its one CPU and, while it yields to others, its class SCHED_IDLE.
    public func start(
        group: DispatchGroup? = nil, at deadline: DispatchTime? = nil, _ work: @escaping @Sendable () -> Void
    ) {
        let body: @Sendable () -> Void = {
            clinux_be_like_first()
            work()
        }
        if let deadline { asyncAfter(deadline: deadline, execute: body) } else { async(group: group, execute: body) }
    }
}
