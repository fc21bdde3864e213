import CLinux
import CoherentMemory
import Glibc
import LinuxSupport
import MachineTopology
import Synchronization

/// Finds the node on whose CPU a task runs.
///
/// Asking costs a read of /proc, and tasks seldom move: an answer is good for about a tick of Linux's scheduler.
package final class TaskLocator: Sendable {
    private static let slotCount = 256
    private static let trust: UInt64 = 4

    private let nodeOfCPU: [Int]
    private let home: Int
    private let isTrivial: Bool
    private let machine: Machine
    /// The last answers by thread, each in one word: 22 bits of milliseconds, 10 of the node, 32 of the thread.
    private let known = InlineArray<256, Atomic<UInt64>> { _ in Atomic(0) }

    init(machine: Machine) {
        let withCPUs = machine.nodes.filter { !$0.cpus.isEmpty }
        home = withCPUs.first?.id ?? machine.nodes.first?.id ?? 0
        isTrivial = withCPUs.count < 2
        self.machine = machine
        var nodeOfCPU = [Int](repeating: home, count: (withCPUs.compactMap { $0.cpus.max() }.max() ?? -1) + 1)
        for node in withCPUs {
            for cpu in node.cpus { nodeOfCPU[cpu] = node.id }
        }
        self.nodeOfCPU = nodeOfCPU
    }

    /// A task that does something, and where.
    package func origin(ofTask task: Int32) -> Origin {
        Origin(pid: task, node: isTrivial || task <= 0 ? home : node(ofTask: task))
    }

    /// The CPU of the machine that a task runs on; the host's, where the machine has none of that number. Nil for no such task.
    package func cpu(ofTask task: Int32) -> Int? {
        guard let host = ProcStat(task: task)?.processor else { return nil }
        return machine.hasAffinities ? machine.cpu(ofTask: task, on: host) ?? host : host
    }

    private func node(ofTask task: Int32) -> Int {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
        let now = (UInt64(time.tv_sec) &* 1000 &+ UInt64(time.tv_nsec) / 1_000_000) & 0x3f_ffff
        let slot = Int(task) % Self.slotCount
        let word = known[slot].load(ordering: .relaxed)
        if word & 0xffff_ffff == UInt64(task), (now &- word >> 42) & 0x3f_ffff < Self.trust {
            return Int(word >> 32 & 0x3ff)
        }
        guard let cpu = cpu(ofTask: task), cpu < nodeOfCPU.count else { return home }
        known[slot].store(now << 42 | UInt64(nodeOfCPU[cpu]) << 32 | UInt64(task), ordering: .relaxed)
        return nodeOfCPU[cpu]
    }
}
