extension Placer {
    /// The first node that a policy would ask. A huge page is not looked for farther away, where base pages may be had
    /// nearby.
    func intendedNode(
        for unit: Range<UInt64>, _ context: borrowing AllocationContext
    ) -> (node: Node, isInterleaved: Bool)? {
        let preferred = preferredNode(at: unit.lowerBound / UInt64(HugePage.frames), for: context)
        // Under `prefer (many)` the nodes named come first, then all the others.
        for within in context.policy.mode.passes {
            for place in 0..<nodes.count {
                let node = nodes[Int(nodes[preferred].fallback[place])]
                guard admission(to: node, within: within, for: context) == .admitted, node.hasMemory else { continue }
                return (node, context.policy.mode.isInterleaving && node.index == preferred)
            }
        }
        return nil
    }

    /// A reserved huge page of the nearest node that a policy allows (dequeue_hugetlb_folio_nodemask()).
    func takePooled(
        for unit: Range<UInt64>, _ context: borrowing AllocationContext, refused: inout NodeMask
    ) -> FrameRun? {
        let preferred = preferredNode(at: unit.lowerBound / UInt64(HugePage.frames), for: context)
        for within in context.policy.mode.passes {
            for place in 0..<nodes.count {
                let node = nodes[Int(nodes[preferred].fallback[place])]
                switch admission(to: node, within: within, for: context) {
                case .admitted: if let run = node.takePooled() { return run }
                case .passedOver, .notAllowed: break
                case .isolated: if node.hasPooled { refused.insert(node.index) }
                }
            }
        }
        return nil
    }
}
