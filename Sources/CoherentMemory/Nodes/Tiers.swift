import MachineTopology

extension Node {
    /// How far memory is from the programs, on the scale of Linux's tiers (abstract distance, mm/memory-tiers.c).
    ///
    /// Memory of a device would have one by its speed, but relative to that of RAM, of which a topology says nothing;
    /// Linux then takes what drivers/dax/kmem.c begins with, five times that of RAM.
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
