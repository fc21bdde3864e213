import MachineTopology
import SystemPackage

extension Machine {
    /// How many pages of a range are on nodes that a policy does not name (queue_pages_range() of mm/mempolicy.c); with a policy that
    /// names none, all of them.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - bytes: of the buffer, widened to whole pages.
    ///   - policy: the policy that names the nodes.
    public func misplacedPages(of buffer: Buffer, bytes: Range<UInt64>, under policy: MemoryPolicy) -> Int {
        let named = nodes(namedBy: policy)
        var count = 0
        buffer.forEachPage(in: bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound)) { _, entry in
            if !named.contains(nodeMap.index(of: entry.pfn)) { count += 1 }
        }
        return count
    }

    /// The places of the nodes that a policy names, relative ones among all that have memory.
    private func nodes(namedBy policy: MemoryPolicy) -> NodeMask {
        memory.placer.context(for: nodeMap.effective(policy), isDevice: false, origin: Origin(pid: 0, node: 0)).policy
            .nodes
    }

    /// Moves the pages of a range that are on nodes that a policy does not name to where the policy would have them (mbind(2) with
    /// MPOL_MF_MOVE). Blocks as ``migrate(_:bytes:to:account:isCancelled:)`` does.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - bytes: of the buffer, widened to whole pages.
    ///   - policy: the policy that names the nodes.
    ///   - local: the id of the node of who asks.
    ///   - movesAll: whether pages move that are on nodes of the policy, too, as where MPOL_DEFAULT replaces a policy and the task's applies.
    ///   - account: what the moved pages are added to.
    ///   - isCancelled: checked repeatedly.
    /// - Returns: how many pages could not be moved.
    public func conform(
        _ buffer: Buffer, bytes: Range<UInt64>, to policy: MemoryPolicy, local: Int, movesAll: Bool = false,
        account: MigrationAccount = MigrationAccount(.range), isCancelled: () -> Bool = { false }
    ) -> Int {
        let pages = bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound)
        let origin = Origin(pid: 0, node: policy.home ?? local)
        let context = memory.placer.context(for: nodeMap.effective(policy), isDevice: false, origin: origin)
        let named = context.policy.nodes
        let settled = movesAll ? NodeMask() : named
        trace.noteConform(buffer.id, pages, to: policy, origin)
        func move(_ pages: Range<UInt64>, _ filter: PageFilter, to targets: [Node]) {
            // What cannot move does not keep the rest.
            try? mover.move(
                buffer, pages: pages, filter: filter, targets: targets, account: account, isCancelled: isCancelled)
        }
        switch policy.mode {
        case .interleave, .weightedInterleave:
            for (pages, target) in turns(of: buffer, in: pages, except: settled, for: context) {
                move(pages, mover.movable(to: target), to: [target])
            }
            return misplacedPages(of: buffer, bytes: bytes, under: policy)
        case .default, .local:
            let local = nodes[context.local]
            move(pages, mover.movable(to: local), to: [local])
            return 0
        case .bind, .prefer, .preferMany:
            let targets = nodeMap.byDistance(from: nodes[context.local]).filter {
                named.contains($0.index) && $0.allows(.userMigrate) && $0.hasMemory
            }
            guard !targets.isEmpty else { return misplacedPages(of: buffer, bytes: bytes, under: policy) }
            for source in nodes
            where !settled.contains(source.index) && source !== targets.first && source.allows(.userMigrate)
                && buffer.pages(onNode: source.index) > 0
            {
                move(pages, .onNode(source.span), to: targets)
            }
            return misplacedPages(of: buffer, bytes: bytes, under: policy)
        }
    }

    /// The pages that are on none of some nodes, in runs of those whose turn is of one node.
    private func turns(
        of buffer: Buffer, in pages: Range<UInt64>, except named: NodeMask, for context: AllocationContext
    ) -> [(pages: Range<UInt64>, target: Node)] {
        var runs: [(pages: Range<UInt64>, target: Node)] = []
        let shift = buffer.hugeMode == .pool ? UInt64(HugePage.order) : 0
        buffer.forEachPage(in: pages) { page, entry in
            guard !named.contains(nodeMap.index(of: entry.pfn)) else { return }
            let target = nodes[memory.placer.turn(at: page >> shift, for: context).node]
            if let last = runs.last, last.pages.upperBound == page, last.target === target {
                runs[runs.count - 1].pages = last.pages.lowerBound..<page + 1
            } else {
                runs.append((page..<page + 1, target))
            }
        }
        return runs
    }
}
