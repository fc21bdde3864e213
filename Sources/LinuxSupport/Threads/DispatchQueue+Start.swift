import CLinux
public import Dispatch

extension DispatchQueue {
    /// Runs `work` as `async` does, on a thread like any other of the process.
    ///
    /// Threads of the pool inherit from whoever has them started: from a ring that serves requests that would be its one CPU
    /// and, while it makes way for others, its class SCHED_IDLE.
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
