import MachineTopology

extension Machine {
    /// Reserves or frees huge pages until the machine has `count` (kernel/mm/hugepages/…/nr_hugepages).
    ///
    /// New ones come in equal parts from the nodes from which the kernel allocates without a request for the node, as far
    /// as they have room. A lower count takes them from every node in equal parts. If there is not enough room, the count
    /// stays lower.
    ///
    /// - Parameter count: the number of huge pages, 0 or more.
    public func setHugePages(_ count: Int) {
        var able = nodes
        while true {
            let total = nodes.reduce(0) { $0 + $1.usage.hugePool.total }
            able = able.filter { total < count ? $0.allows(.kernel) && $0.hasMemory : $0.usage.hugePool.total > 0 }
            guard total != count, !able.isEmpty else { return }
            let share = max(1, (count - total).magnitude / UInt(able.count))
            var missing = (count - total).magnitude
            able = able.filter { node in
                guard missing > 0 else { return true }
                let before = node.usage.hugePool.total
                let step = Int(min(share, missing))
                setHugePages(
                    total < count ? before.addingReportingOverflow(step).partialValue : max(0, before - step), of: node)
                let changed = (node.usage.hugePool.total - before).magnitude
                missing -= min(missing, changed)
                return changed == UInt(step)
            }
        }
    }
}
