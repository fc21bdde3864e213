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
        func persistent() -> Int { nodes.reduce(0) { $0 + $1.usage.hugePool.persistent } }
        func change(_ missing: @autoclosure () -> Int, _ body: (inout Zone, FrameTable, Int) -> Int) {
            distribute(missing(), over: nodes) { node, step in
                node.poolTurn.withLock { _ in node.zone.withLock { body(&$0, node.frames, step) } }
            }
        }
        let before = nodes.map(\.usage.hugePool.persistent)
        change(count - persistent()) { zone, _, step in zone.keepSurplus(step) }
        distribute(count - persistent(), over: nodes.filter { $0.allows(.kernel) && $0.hasMemory }) { node, step in
            let old = node.usage.hugePool.persistent
            setHugePages(old.addingReportingOverflow(step).partialValue, of: node)
            return node.usage.hugePool.persistent - old
        }
        change(persistent() - count) { zone, table, step in zone.dissolvePool(step, table: table) }
        // What is in use, or promised, goes when it is given back.
        change(persistent() - count) { zone, _, step in zone.addSurplus(step) }
        for (node, old) in zip(nodes, before) where node.usage.hugePool.persistent < old {
            trace.note(.hugePages, on: node, UInt64(node.usage.hugePool.persistent))
        }
    }

    /// Changes the pools of nodes by a number of huge pages in equal parts, as far as each of them can.
    ///
    /// - Parameter change: changes a pool by at most so many, and tells by how many.
    private func distribute(_ count: Int, over nodes: [Node], _ change: (Node, Int) -> Int) {
        var (able, missing) = (nodes, count)
        while missing > 0, !able.isEmpty {
            let share = max(1, missing / able.count)
            able = able.filter { node in
                guard missing > 0 else { return true }
                let step = min(share, missing)
                let changed = change(node, step)
                missing -= changed
                return changed == step
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
