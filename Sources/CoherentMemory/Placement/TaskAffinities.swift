import LinuxSupport
import MachineTopology
import Synchronization

/// The CPUs that tasks may run on, of those of the machine, whether the host has them or not (sched_setaffinity(2)).
final class TaskAffinities: Sendable {
    let state = Mutex(Inheritance<IDSet>())
    /// Whether any task was ever given some.
    let isActive = Atomic(false)
}
