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
    /// The nodes that isolation kept the request from though they had free frames.
    var refused = NodeMask()
}

extension Machine {
    /// Allocates frames for pages that follow each other, under a policy and the isolation in force
    /// (alloc_pages_mpol() and get_page_from_freelist()). What is kept must be passed to ``account(_:local:)``.
    ///
    /// - Parameters:
    ///   - count: how many frames; fewer are handed out when no more are to be had.
    ///   - page: the first page, which interleaving goes by.
    ///   - policy: the buffer's policy.
    ///   - local: the place of the node where the touching task runs.
    ///   - body: gets each run of frames, in the order of the pages.
    func allocate(
        _ count: Int, at page: UInt64, policy: borrowing EffectivePolicy, local: Int, _ body: (TakenRun) -> Void
    ) -> AllocationResult {
        var result = AllocationResult()
        switch policy.mode {
        case .default, .bind:
            take(count, preferred: local, policy: policy, into: &result, body)
        case .prefer:
            take(count, preferred: policy.nodes.member(0), policy: policy, into: &result, body)
        case .interleave:
            for offset in 0..<UInt64(count) {
                let turn = Int((page + offset) % UInt64(policy.nodes.count))
                let before = result.allocated
                take(1, preferred: policy.nodes.member(turn), policy: policy, into: &result, body)
                if result.allocated == before { break }
            }
        }
        return result
    }

    /// Walks the zonelist of the preferred node.
    private func take(
        _ count: Int, preferred: Int, policy: borrowing EffectivePolicy, into result: inout AllocationResult,
        _ body: (TakenRun) -> Void
    ) {
        var left = count
        var intended: Node?
        for place in 0..<nodes.count {
            let index = Int(nodes[preferred].fallback[place])
            if policy.mode == .bind, !policy.nodes.contains(index) { continue }
            let node = nodes[index]
            // Under `default` the mask is empty: no isolated node was named.
            if node.isIsolated, !policy.nodes.contains(index) {
                if node.hasFreeFrames { result.refused.insert(index) }
                continue
            }
            if intended == nil, node.hasMemory { intended = node }
            while left > 0, let run = node.allocateRun(upTo: left) {
                left -= run.count
                body(
                    TakenRun(
                        frames: run, intended: UInt16((intended ?? node).index),
                        isInterleaved: policy.mode == .interleave && index == preferred))
            }
            if left == 0 { break }
        }
        result.allocated += count - left
    }

    /// Counts frames that their pages keep; frames given back because others were missing leave no trace.
    func account(_ run: TakenRun, local: Int) {
        let node = node(of: run.frames.start)
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
    func countRefusals(_ refused: borrowing NodeMask) {
        refused.forEach { nodes[$0].counters.refusedFallback.add(1) }
    }
}
