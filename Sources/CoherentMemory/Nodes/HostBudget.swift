import LinuxSupport
import Synchronization

/// How many pages of the machine the host has memory for, where that is less than the machine has: in a memory cgroup, whose limit
/// ends a process that takes more.
///
/// Pages that have frames count, whether or not something was stored to them: what is stored through a mapping later comes
/// without asking.
final class HostBudget: Sendable {
    private let limit = Atomic(Int.max)
    /// How many more there may be before they are counted anew.
    private let left = Atomic(0)
    private let turn = TracedMutex<Void>(())

    func setLimit(_ pages: Int) { limit.store(pages, ordering: .relaxed) }

    /// Whether there may be so many more. The caller may hold a buffer's lock, and none of a node.
    @inline(__always)
    func take(_ pages: Int, of nodes: [Node]) -> Bool {
        let limit = limit.load(ordering: .relaxed)
        return limit == .max || spend(pages) || refill(pages, limit, nodes)
    }

    private func refill(_ pages: Int, _ limit: Int, _ nodes: [Node]) -> Bool {
        turn.withLock { _ in
            // Another thread may have counted meanwhile.
            if spend(pages) { return true }
            let used = nodes.reduce(0) { sum, node in
                let usage = node.usage
                return sum + max(0, usage.present - usage.free)
            }
            left.store(limit - used, ordering: .relaxed)
            return spend(pages)
        }
    }

    private func spend(_ pages: Int) -> Bool {
        if left.subtract(pages, ordering: .relaxed).newValue >= 0 { return true }
        left.add(pages, ordering: .relaxed)
        return false
    }
}
