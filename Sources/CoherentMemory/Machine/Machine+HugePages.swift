import LinuxSupport
import MachineTopology
import SystemPackage

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

    /// Reserves or frees huge pages of a node (nodeN/hugepages/…/nr_hugepages).
    ///
    /// If there is not enough room, the count stays lower; see ``NodeUsage/hugePool``. Huge pages in use above `count`
    /// become surplus. The request names the node; a node that may not be named gets none.
    ///
    /// - Parameters:
    ///   - count: the number of huge pages, 0 or more.
    ///   - node: the node.
    public func setHugePages(_ count: Int, of node: Node) {
        trace.note(.hugePages, on: node, UInt64(clamping: count))
        let isLocal = nodeMap.current === node
        node.poolTurn.withLock { _ in
            while true {
                let step = node.zone.withLock { zone -> (taken: Int, isDone: Bool) in
                    guard node.isPresent else { return (0, true) }
                    return zone.resizePool(to: node.allows(.mempolicy) ? count : 0, limit: 64, table: node.frames)
                }
                // An event an allocation, whatever its order, as zone_statistics() counts.
                if step.taken > 0 { memory.placer.account(step.taken, on: node, intended: node, isLocal: isLocal) }
                if step.isDone { return }
            }
        }
    }

    /// Sets whether pages that a buffer gets later are huge; present pages do not change.
    ///
    /// - Throws: EBUSY to or from ``HugeMode/pool`` while the buffer has pages, EINVAL to it if the size is not a
    ///   multiple of a huge page, EOPNOTSUPP to it for a direct buffer.
    public func setHugeMode(_ mode: HugeMode, of buffer: Buffer) throws(Errno) {
        try buffer.state.withLock { state throws(Errno) in
            if let backing = state.backing {
                guard mode != .pool else { throw .notSupported }
                try backing.setHuge(mode != .never)
            }
            if mode != state.huge, mode == .pool || state.huge == .pool {
                guard state.pages.table.isEmpty else { throw .resourceBusy }
                guard mode != .pool || state.size % HugePage.size == 0 else { throw .invalidArgument }
            }
            state.huge = mode
            state.isHugeChosen = true
        }
        trace.note(.hugeMode, of: buffer, mode.place)
    }
}
