import MachineTopology

extension Node {
    /// The distance of memory from the programs, on the scale of Linux's tiers (abstract distance, mm/memory-tiers.c).
    ///
    /// For device memory Linux would derive it from the speed relative to RAM, which a topology need not have. It then
    /// uses the default of drivers/dax/kmem.c, five times that of RAM.
    public var abstractDistance: Int { (kind == .ram ? 1 : 5) * (4 << 7 + 1 << 6) }

    /// Whether the memory is of the fastest tiers, those with CPUs (node_is_toptier()).
    var isTopTier: Bool { kind == .ram }
}

extension Machine {
    /// The nodes to which pages of a node may be demoted: of the nearest slower tier that has any, then of the next,
    /// each by distance (next_demotion_node()). Only nodes that allow demotion to them are targets.
    public func demotionTargets(of node: Node) -> [Node] {
        let candidates = nodes.filter { isDemotionTarget($0, of: node) }
        func rank(_ other: Node) -> (Int, Int) { (other.abstractDistance, node.distances[other.index]) }
        return candidates.sorted { rank($0) < rank($1) }
    }

    func hasDemotionTarget(_ node: Node) -> Bool { nodes.contains { isDemotionTarget($0, of: node) } }

    private func isDemotionTarget(_ other: Node, of node: Node) -> Bool {
        other.abstractDistance > node.abstractDistance && other.allows(.demotion) && other.hasMemory
    }

    /// The node of the fastest tiers to which pages are promoted for a task that runs on `node`.
    func promotionTarget(for node: Node) -> Node? {
        (0..<nodes.count).lazy.map { self.nodes[Int(node.fallback[$0])] }.first { $0.isTopTier && $0.hasMemory }
    }
}
