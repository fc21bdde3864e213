import AttributeTree
import CoherentMemory
import LinuxSupport
import SystemPackage

extension CoherentFileSystem {
    /// Starts the threads that reclaim and balance memory; they end with the other jobs.
    func startBackgroundWork() {
        let machine = services.machine
        let works: [(String, @Sendable (Cancellation) -> Void)] = [
            ("kswapd", { cancellation in machine.runKswapd(isCancelled: { cancellation.isCancelled }) }),
            ("numa-balancing", { cancellation in machine.runBalancing(isCancelled: { cancellation.isCancelled }) }),
        ]
        for (name, work) in works {
            let job = Job(name) { cancellation throws(Errno) in
                try cancellation.withHandler({ machine.wakeBackgroundWork() }) { () throws(Errno) in
                    work(cancellation)
                }
            }
            services.jobs.start(job, Cancellation()) { _ in }
        }
    }

    /// Cancels what runs beside the requests, commands of devices, too; false when some of it still runs after `seconds`.
    func endJobs(within seconds: Int) -> Bool {
        services.jobs.close()
        let queues = services.machine.devices.map(\.queue)
        for queue in queues { queue.close() }
        return services.jobs.wait(seconds: seconds) && queues.allSatisfy { $0.waitUntilIdle(seconds: seconds) }
    }
}
