import LinuxSupport
import MachineTopology
import SystemPackage

extension Machine {
    /// Reserves huge pages, or gives reserved ones up, until the machine has `count` (kernel/mm/hugepages/…/nr_hugepages).
    ///
    /// More come in equal parts from the nodes that the kernel takes pages of unasked, as far as they have room. Fewer are
    /// taken from every node in equal parts. What does not fit is left out.
    ///
    /// - Parameter count: huge pages; any number from 0 on.
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

    /// Reserves huge pages of a node, or gives reserved ones up (nodeN/hugepages/…/nr_hugepages).
    ///
    /// What does not fit is left out; ``NodeUsage/hugePool`` tells what was got. Huge pages in use beyond `count` become
    /// surplus. Naming the node is asking for it; one that nobody may name gets none.
    ///
    /// - Parameter count: huge pages; any number from 0 on.
    public func setHugePages(_ count: Int, of node: Node) {
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

    /// Sets whether pages that a buffer gets from now on are huge; pages that it has stay as they are.
    ///
    /// - Throws: EBUSY to or from ``HugeMode/pool`` while the buffer has pages, EINVAL to it where the size is no
    ///   multiple of a huge page's, EOPNOTSUPP to it of a direct buffer.
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
    }
}
