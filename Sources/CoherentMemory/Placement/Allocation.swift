import MachineTopology
import SystemPackage

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
    /// Whether a node had no more for the user, by the user's share of it.
    var isOverShare = false

    /// Why there were too few.
    var shortage: Errno {
        if !notAllowed.isEmpty { return .notPermitted }
        return isOverShare ? .diskQuotaExceeded : .noMemory
    }

    mutating func formUnion(_ other: AllocationResult) {
        allocated += other.allocated
        other.refused.forEach { refused.insert($0) }
        other.notAllowed.forEach { notAllowed.insert($0) }
        isOverShare = isOverShare || other.isOverShare
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
        let passes = context.policy.mode.traits.passes
        while result.allocated < count {
            let (preferred, length) = turn(at: page + UInt64(result.allocated), for: context)
            let goal = min(length, count - result.allocated) + result.allocated
            for pass in passes where result.allocated < goal {
                take(
                    goal - result.allocated, preferred: preferred, within: pass == PolicyTraits.listedPass,
                    for: context,
                    into: &result, body)
            }
            if result.allocated < goal { break }
        }
        return result
    }

    /// The node whose zonelist is walked for a page, or huge page, of a buffer, and for how many pages it still is.
    func turn(at page: UInt64, for context: borrowing AllocationContext) -> (node: Int, length: Int) {
        switch context.policy.mode.traits.start {
        case .local: (context.policy.home ?? context.local, .max)
        case .listed: (context.policy.nodes.member(0), .max)
        case .turns: (context.policy.nodes.member(Int(page % UInt64(context.policy.nodes.count))), 1)
        case .weightedTurns: weightedTurn(at: page, among: context.policy.nodes)
        }
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
        _ count: Int, preferred: Int, within: Bool, for context: borrowing AllocationContext,
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
            let room = context.share?.room(on: node) ?? left
            let first = UInt16((intended ?? node).index)
            let isInterleaved = context.policy.mode.traits.isInterleaving && index == preferred
            let taken = node.allocateRuns(upTo: min(left, max(0, room)), isDevice: context.isDevice) { run in
                body(TakenRun(frames: run, intended: first, isInterleaved: isInterleaved))
            }
            left -= taken
            if left == 0 { break }
            if taken >= room { result.isOverShare = true }
        }
        result.allocated += count - left
    }

    /// Whether a request may land on a node.
    enum Admission {
        case admitted
        /// The policy or the cpuset excludes the node, or the node allows no request to have its pages.
        case passedOver
        /// Isolation denies the node, because the request did not name it.
        case isolated
        /// The request named the node, but the task may not use it.
        case notAllowed
    }

    /// Whether a request may land on a node, by policy, cpuset and the node's rights.
    ///
    /// - Parameter within: whether only the nodes of the policy will do.
    func admission(to node: Node, within: Bool, for context: borrowing AllocationContext) -> Admission {
        let capabilities = node.capabilities
        var isNamed = context.policy.nodes.contains(node.index)
        guard isNamed || !within, context.allows(node.index) else { return .passedOver }
        if context.isDevice { return .admitted }
        guard capabilities.contains(.node), !context.isPinned || capabilities.contains(.longtermPin) else {
            return .passedOver
        }
        // A node that policies may not name has gone from those that were made before (mpol_set_nodemask()).
        if isNamed, !capabilities.contains(.mempolicy) {
            if within { return .passedOver }
            isNamed = false
        }
        guard isNamed || capabilities.contains(.fallback) else { return .isolated }
        if capabilities.contains(.anyTask) { return .admitted }
        let isAllowed = context.access[node.index] ?? tasks.mayUse(node, process: context.process)
        return isAllowed ? .admitted : isNamed ? .notAllowed : .isolated
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
