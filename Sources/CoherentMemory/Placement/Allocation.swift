/// Frames that an allocation handed out, and what the counters have to know of them.
struct TakenRun: BitwiseCopyable {
    var frames: FrameRun
    /// The place of the node that the request was meant for.
    var intended: UInt16
    /// Whether the frames are on the node whose turn it was.
    var isInterleaved: Bool
}

/// What an allocation request of several frames came to.
struct AllocationResult {
    /// Frames handed out.
    var allocated = 0
    /// The nodes that isolation kept the request from falling back to, though they had free frames.
    var refused = NodeMask()
    /// The nodes that the policy named and the task may not use.
    var notAllowed = NodeMask()

    mutating func formUnion(_ other: AllocationResult) {
        allocated += other.allocated
        other.refused.forEach { refused.insert($0) }
        other.notAllowed.forEach { notAllowed.insert($0) }
    }
}

extension Placer {
    /// Allocates frames for pages that follow each other, under what is in force for the task and the isolation of the
    /// nodes (alloc_pages_mpol() and get_page_from_freelist()). What is kept must be passed to ``account(_:local:)``.
    ///
    /// - Parameters:
    ///   - count: how many frames; fewer are handed out when no more are to be had.
    ///   - page: the first page, which interleaving goes by.
    ///   - body: gets each run of frames, in the order of the pages.
    func allocate(
        _ count: Int, at page: UInt64, for context: borrowing AllocationContext, _ body: (TakenRun) -> Void
    ) -> AllocationResult {
        var result = AllocationResult()
        guard hostBudget.take(count, of: nodes) else { return result }
        switch context.policy.mode {
        case .default, .local:
            take(count, preferred: context.local, for: context, into: &result, body)
        case .bind:
            take(count, preferred: context.local, within: true, for: context, into: &result, body)
        case .prefer:
            take(count, preferred: context.policy.nodes.member(0), for: context, into: &result, body)
        case .preferMany:
            // First only the nodes named, then all the others (alloc_pages_preferred_many()).
            take(count, preferred: context.local, within: true, for: context, into: &result, body)
            if result.allocated < count {
                take(count - result.allocated, preferred: context.local, for: context, into: &result, body)
            }
        case .interleave:
            let nodes = context.policy.nodes.count
            for offset in 0..<UInt64(count) {
                let turn = context.policy.nodes.member(Int((page + offset) % UInt64(nodes)))
                let before = result.allocated
                take(1, preferred: turn, for: context, into: &result, body)
                if result.allocated == before { break }
            }
        case .weightedInterleave:
            var offset = 0
            while offset < count {
                let (turn, length) = weightedTurn(at: page + UInt64(offset), among: context.policy.nodes)
                let part = min(length, count - offset)
                let before = result.allocated
                take(part, preferred: turn, for: context, into: &result, body)
                if result.allocated - before < part { break }
                offset += part
            }
        }
        return result
    }

    /// The node whose turn a page is, and for how many pages it still is (weighted_interleave_nid()).
    private func weightedTurn(at page: UInt64, among mask: borrowing NodeMask) -> (node: Int, length: Int) {
        var total = 0
        mask.forEach { total += nodes[$0].interleaveWeight }
        var target = Int(page % UInt64(total))
        var found = (node: mask.member(0), length: 1)
        var isFound = false
        mask.forEach { index in
            guard !isFound else { return }
            let weight = nodes[index].interleaveWeight
            if target < weight {
                found = (index, weight - target)
                isFound = true
            } else {
                target -= weight
            }
        }
        return found
    }

    /// Walks the zonelist of the preferred node.
    ///
    /// - Parameter within: whether only the nodes of the policy will do.
    private func take(
        _ count: Int, preferred: Int, within: Bool = false, for context: borrowing AllocationContext,
        into result: inout AllocationResult, _ body: (TakenRun) -> Void
    ) {
        var left = count
        var intended: Node?
        for place in 0..<nodes.count {
            let index = Int(nodes[preferred].fallback[place])
            let node = nodes[index]
            switch admission(to: node, within: within, for: context) {
            case .admitted: break
            case .passedOver: continue
            case .isolated:
                if node.hasFreeFrames { result.refused.insert(index) }
                continue
            case .notAllowed:
                result.notAllowed.insert(index)
                continue
            }
            if intended == nil, node.hasMemory { intended = node }
            while left > 0, let run = node.allocateRun(upTo: left, isDevice: context.isDevice) {
                left -= run.count
                body(
                    TakenRun(
                        frames: run, intended: UInt16((intended ?? node).index),
                        isInterleaved: context.policy.mode.isInterleaving && index == preferred))
            }
            if left == 0 { break }
        }
        result.allocated += count - left
    }

    /// Whether a request may land on a node.
    enum Admission {
        case admitted
        /// The policy or the cpuset does not have the node, or it is no NUMA node at present.
        case passedOver
        /// Isolation keeps out who did not name the node.
        case isolated
        /// The node was named by a task that may not use it.
        case notAllowed
    }

    /// Whether a request may land on a node, by policy, cpuset and isolation.
    ///
    /// - Parameter within: whether only the nodes of the policy will do.
    func admission(to node: Node, within: Bool, for context: borrowing AllocationContext) -> Admission {
        let isNamed = context.policy.nodes.contains(node.index)
        guard isNamed || !within, context.allows(node.index) else { return .passedOver }
        if context.isDevice { return .admitted }
        switch node.isolation {
        case .none: return .admitted
        case .exclusive: return isNamed ? .admitted : .isolated
        case .restricted:
            guard isNamed else { return .isolated }
            let isAllowed = context.access[node.index] ?? tasks.mayUse(node, process: context.process)
            return isAllowed ? .admitted : .notAllowed
        case .driver: return .passedOver
        }
    }

    /// The node whose turn it is for the `page`th page, or huge page, of a buffer.
    func preferredNode(at page: UInt64, for context: borrowing AllocationContext) -> Int {
        switch context.policy.mode {
        case .default, .local, .bind, .preferMany: context.local
        case .prefer: context.policy.nodes.member(0)
        case .interleave: context.policy.nodes.member(Int(page % UInt64(context.policy.nodes.count)))
        case .weightedInterleave: weightedTurn(at: page, among: context.policy.nodes).node
        }
    }

    /// Counts frames that their pages keep; frames given back because others were missing leave no trace.
    func account(_ run: TakenRun, local: Int) {
        let node = map.node(of: run.frames.start)
        account(run.frames.count, on: node, intended: nodes[Int(run.intended)], isLocal: node.index == local)
        if run.isInterleaved { node.counters.interleaveHit.add(run.frames.count) }
    }

    /// zone_statistics() of mm/page_alloc.c.
    func account(_ pages: Int, on node: Node, intended: Node, isLocal: Bool) {
        if node === intended {
            node.counters.hit.add(pages)
        } else {
            node.counters.miss.add(pages)
            intended.counters.foreign.add(pages)
        }
        if isLocal { node.counters.local.add(pages) } else { node.counters.other.add(pages) }
    }

    /// Counts a request that isolation turned away, or sent to another node.
    func countRefusals(_ result: borrowing AllocationResult) {
        result.refused.forEach { nodes[$0].counters.refusedFallback.add(1) }
        result.notAllowed.forEach { nodes[$0].counters.refusedNotAllowed.add(1) }
    }
}

extension MemoryPolicy.Mode {
    /// Whether the nodes take turns.
    var isInterleaving: Bool { self == .interleave || self == .weightedInterleave }

    /// The walks through a zonelist in turn, and whether each is for the nodes named only
    /// (alloc_pages_preferred_many() makes two).
    var passes: [Bool] {
        switch self {
        case .bind: [true]
        case .preferMany: [true, false]
        default: [false]
        }
    }
}
