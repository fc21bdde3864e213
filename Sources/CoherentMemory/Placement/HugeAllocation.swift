extension Placer {
    /// The first node that a policy would ask. A huge page is not looked for farther away, where base pages may be had
    /// nearby.
    func intendedNode(
        for unit: Range<UInt64>, _ context: borrowing AllocationContext
    ) -> (node: Node, isInterleaved: Bool)? {
        let preferred = turn(at: unit.lowerBound / UInt64(HugePage.frames), for: context).node
        // Under `prefer (many)` the nodes named come first, then all the others.
        for pass in context.policy.mode.traits.passes {
            let within = pass == PolicyTraits.listedPass
            for place in 0..<nodes.count {
                let node = nodes[Int(nodes[preferred].fallback[place])]
                guard admission(to: node, within: within, for: context) == .admitted, node.hasMemory else { continue }
                return (node, context.policy.mode.traits.isInterleaving && node.index == preferred)
            }
        }
        return nil
    }

    /// A huge page from the pool of the nearest node that a policy allows (dequeue_hugetlb_folio_vma()).
    ///
    /// - Parameter isPromised: whether it was promised to who asks; else there must be more of them than promises.
    func takePooled(
        for unit: Range<UInt64>, _ context: borrowing AllocationContext, isPromised: Bool, refused: inout NodeMask,
        _ isOverShare: inout Bool
    ) -> FrameRun? {
        let reserve = map.hugeReserve
        guard isPromised || reserve.take() else { return nil }
        let run = findPooled(for: unit, context, refused: &refused, &isOverShare)
        if isPromised, run != nil { reserve.redeem() }
        if !isPromised, run == nil { reserve.giveBack() }
        return run
    }

    /// How many huge pages the pools have free of which a policy allows some (allowed_mems_nr()).
    func pooledPages(for context: borrowing AllocationContext) -> Int {
        nodes.reduce(0) { sum, node in
            for pass in context.policy.mode.traits.passes
            where admission(to: node, within: pass == PolicyTraits.listedPass, for: context) == .admitted {
                return sum + node.pooledPages
            }
            return sum
        }
    }

    private func findPooled(
        for unit: Range<UInt64>, _ context: borrowing AllocationContext, refused: inout NodeMask,
        _ isOverShare: inout Bool
    ) -> FrameRun? {
        let preferred = turn(at: unit.lowerBound / UInt64(HugePage.frames), for: context).node
        for pass in context.policy.mode.traits.passes {
            let within = pass == PolicyTraits.listedPass
            for place in 0..<nodes.count {
                let node = nodes[Int(nodes[preferred].fallback[place])]
                switch admission(to: node, within: within, for: context) {
                case .admitted:
                    guard context.hasRoom(HugePage.frames, on: node) else {
                        isOverShare = true
                        continue
                    }
                    if let run = node.takePooled() { return run }
                case .passedOver, .notAllowed: break
                case .isolated: if node.pooledPages > 0 { refused.insert(node.index) }
                }
            }
        }
        return nil
    }
}

extension AllocationContext {
    /// Whether the user's share of a node has room for so many frames.
    func hasRoom(_ count: Int, on node: Node) -> Bool { share.map { $0.room(on: node) >= count } ?? true }
}
