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
        let preferred =
            switch policy.mode {
            case .default, .bind: origin
            case .prefer: policy.nodes[0]
            case .interleave: policy.nodes[Int(page % UInt64(policy.nodes.count))]
            }
        var result = Touch()
        var candidates: [Int] = []
        for node in zonelist(of: preferred) {
            let isNamed = policy.nodes.contains(node)
            if policy.mode == .bind, !isNamed { continue }
            if nodes[node].isIsolated, !isNamed {
                // Only a request that got this far was turned away.
                if free(node) > 0, !candidates.contains(where: { free($0) > 0 }) { result.refused.insert(node) }
                continue
            }
            candidates.append(node)
        }
        guard let landed = candidates.first(where: { free($0) > 0 }) else {
            result.isThere = false
            return result
        }
        let intended = candidates.first { present($0) > 0 }!
        count(1, on: landed, intended: intended, running: origin)
        if policy.mode == .interleave, landed == preferred { nodes[landed].statistics.interleaveHit += 1 }
        nodes[landed].used += 1
        buffers[id]!.pages[page] = Page(node: landed)
        return result
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
