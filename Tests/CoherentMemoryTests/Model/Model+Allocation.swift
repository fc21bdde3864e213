@testable import CoherentMemory

extension Model {
    /// What a touch of one page came to.
    struct Touch {
        var isThere = true
        /// Nodes that had room and would have been asked, were they not isolated.
        var refused: Set<Int> = []
    }

    /// Gives a page memory as Linux does: the zonelist of the preferred node, cut down by the policy and by isolation.
    mutating func touch(page: UInt64, of id: UInt64, origin: Int) -> Touch {
        guard buffers[id]!.pages[page] == nil else { return Touch() }
        let policy = buffers[id]!.policy
        var preferred = origin
        switch policy.mode {
        case .default, .local, .bind, .preferMany: break
        case .prefer: preferred = policy.nodes[0]
        case .interleave: preferred = policy.nodes[Int(page % UInt64(policy.nodes.count))]
        case .weightedInterleave:
            let turns = policy.nodes.flatMap { Array(repeating: $0, count: nodes[$0].weight) }
            preferred = turns[Int(page % UInt64(turns.count))]
        }
        var result = Touch()
        var found = landing(preferred, only: [.bind, .preferMany].contains(policy.mode), policy, &result)
        if found == nil, policy.mode == .preferMany { found = landing(preferred, only: false, policy, &result) }
        guard let (landed, intended) = found else {
            result.isThere = false
            return result
        }
        count(1, on: landed, intended: intended, running: origin)
        if [.interleave, .weightedInterleave].contains(policy.mode), landed == preferred {
            nodes[landed].statistics.interleaveHit += 1
        }
        nodes[landed].used += 1
        buffers[id]!.pages[page] = Page(node: landed)
        return result
    }

    /// The first node with room in a zonelist, and the first that has memory at all.
    private func landing(
        _ preferred: Int, only namedOnes: Bool, _ policy: Policy, _ result: inout Touch
    ) -> (landed: Int, intended: Int)? {
        var candidates: [Int] = []
        for node in zonelist(of: preferred) {
            let isNamed = policy.nodes.contains(node)
            if namedOnes, !isNamed { continue }
            if nodes[node].isIsolated, !isNamed {
                // Only a request that got this far was turned away.
                if free(node) > 0, !candidates.contains(where: { free($0) > 0 }) { result.refused.insert(node) }
                continue
            }
            candidates.append(node)
        }
        guard let landed = candidates.first(where: { free($0) > 0 }) else { return nil }
        return (landed, candidates.first { present($0) > 0 }!)
    }

    /// numa_hit and its kin, as in Documentation/admin-guide/numastat.rst.
    mutating func count(_ pages: Int, on landed: Int, intended: Int, running: Int) {
        if landed == intended {
            nodes[landed].statistics.hit += UInt64(pages)
        } else {
            nodes[landed].statistics.miss += UInt64(pages)
            nodes[intended].statistics.foreign += UInt64(pages)
        }
        if landed == running {
            nodes[landed].statistics.local += UInt64(pages)
        } else {
            nodes[landed].statistics.other += UInt64(pages)
        }
    }
}
