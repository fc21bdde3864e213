import CoherentMemory
import MachineTopology
import SystemPackage

/// The calls about CPUs (kernel/sched/syscalls.c and kernel/sys.c), for a machine whose CPUs are not the host's.
extension CallContext {
    /// Bytes of a set of CPUs: whole words (cpumask_size()).
    private var cpuBytes: Int { ((machine.cpus.max() ?? 0) / 64 + 1) * 8 }

    /// sched_setaffinity(2).
    func setAffinity(process number: UInt64, length: UInt64, mask address: UInt64) throws(Errno) -> CallOutcome {
        let count = min(UInt64(cpuBytes), length & 0xffff_ffff)
        var cpus = IDSet()
        for (place, byte) in try read(address, Int(count)).enumerated() {
            for bit in 0..<8 where byte >> bit & 1 == 1 { cpus.insert(place * 8 + bit) }
        }
        let thread = try thread(named: Int32(truncatingIfNeeded: number), toChange: true)
        try machine.setAffinity(cpus, ofTask: thread)
        affinityChanged(of: thread)
        return .value(0)
    }

    /// sched_getaffinity(2).
    func getAffinity(process number: UInt64, length: UInt64, mask address: UInt64) throws(Errno) -> CallOutcome {
        let length = length & 0xffff_ffff
        guard length * 8 > UInt64(machine.cpus.max() ?? 0), length % 8 == 0 else { throw .invalidArgument }
        let cpus = try machine.affinity(
            ofTask: try thread(named: Int32(truncatingIfNeeded: number), toChange: false))
        let count = min(Int(length), cpuBytes)
        var bytes = [UInt8](repeating: 0, count: count)
        for cpu in cpus where cpu / 8 < count { bytes[cpu / 8] |= 1 << UInt8(cpu % 8) }
        try write(bytes, to: address)
        return .value(Int64(count))
    }

    /// getcpu(2).
    func getCPU(cpu cpuAddress: UInt64, node nodeAddress: UInt64) throws(Errno) -> CallOutcome {
        let cpu = self.cpu
        let node = machine.nodes.first { $0.cpus.contains(cpu) }?.id ?? self.node
        if cpuAddress != 0 { try write([UInt32(cpu)], at: cpuAddress) }
        if nodeAddress != 0 { try write([UInt32(node)], at: nodeAddress) }
        return .value(0)
    }
}
