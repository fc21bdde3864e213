import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

extension Machine {
    /// The CPUs of all nodes.
    public var cpus: IDSet { nodes.reduce(into: IDSet()) { $0.formUnion($1.cpus) } }

    /// Sets the CPUs that a thread, and what it makes from now on, may run on.
    ///
    /// - Throws: EINVAL where the machine has none of them, ESRCH for no such task.
    public func setAffinity(_ cpus: IDSet, ofTask id: Int32) throws(Errno) {
        let cpus = cpus.intersection(self.cpus)
        guard !cpus.isEmpty else { throw .invalidArgument }
        let directory = memory.placer.tasks.directory
        guard let task = directory.task(id) else { throw .noSuchProcess }
        memory.placer.affinities.state.withLock { $0.set(cpus, of: id, task, in: directory) }
        memory.placer.affinities.isActive.store(true, ordering: .releasing)
    }

    /// The CPUs that a thread may run on: its own, or inherited, or all. ESRCH for no such task.
    public func affinity(ofTask id: Int32) throws(Errno) -> IDSet {
        let directory = memory.placer.tasks.directory
        guard let task = directory.task(id) else { throw .noSuchProcess }
        guard memory.placer.affinities.isActive.load(ordering: .acquiring) else { return cpus }
        return memory.placer.affinities.state.withLock { $0.value(of: id, task, in: directory) } ?? cpus
    }

    /// The CPU of the machine that a thread runs on.
    ///
    /// - Parameters:
    ///   - id: the number of the thread.
    ///   - host: the CPU of the host; where the thread may not run on one of that number, it has another one by turns.
    /// - Returns: nil where nothing has been said of the thread, and the machine has no CPU of that number.
    public func cpu(ofTask id: Int32, on host: Int) -> Int? {
        guard memory.placer.affinities.isActive.load(ordering: .acquiring), let affinity = try? affinity(ofTask: id)
        else {
            return cpus.contains(host) ? host : nil
        }
        if affinity.contains(host) { return host }
        return Array(affinity)[host % affinity.count]
    }

    /// Whether ``cpu(ofTask:on:)`` may tell another CPU than the host's.
    public var hasAffinities: Bool { memory.placer.affinities.isActive.load(ordering: .acquiring) }
}
