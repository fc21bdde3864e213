import Synchronization

/// Who gives pages their frames: policies, cpusets and isolation put together (mm/mempolicy.c and get_page_from_freelist()).
final class Placer: Sendable {
    let map: NodeMap
    let nodes: [Node]
    let tasks = TaskTable()
    /// The CPUs that tasks may run on.
    let affinities = TaskAffinities()
    /// How many pages the host has memory for.
    let hostBudget = HostBudget()
    /// Whether a user has set weights of weighted interleaving.
    let hasOwnWeights = Atomic(false)

    init(_ map: NodeMap) {
        self.map = map
        nodes = map.all
    }
}
