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

extension NodeMap {
    /// See ``Machine/demotionTargets(of:)``.
    func demotionTargets(of node: Node) -> [Node] {
        let candidates = all.filter { isDemotionTarget($0, of: node) }
        func rank(_ other: Node) -> (Int, Int) { (other.abstractDistance, node.distances[other.index]) }
        return candidates.sorted { rank($0) < rank($1) }
    }

    func hasDemotionTarget(_ node: Node) -> Bool { all.contains { isDemotionTarget($0, of: node) } }

    private func isDemotionTarget(_ other: Node, of node: Node) -> Bool {
        other.abstractDistance > node.abstractDistance && other.allows(.demotion) && other.hasMemory
    }

    /// The node of the fastest tiers to which pages are promoted for a task that runs on `node`.
    func promotionTarget(for node: Node) -> Node? {
        byDistance(from: node).first { $0.isTopTier && $0.hasMemory }
    }
}
