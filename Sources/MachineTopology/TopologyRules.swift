/// What a topology must satisfy, wherever it came from.
struct TopologyRules {
    /// The largest memory of one node: 2^29 frames of 4 KiB, what a page table entry of the simulation can name.
    static let maxNodeMemory: UInt64 = 2 << 40
    /// The largest memory of a machine: what 47 bits of physical address reach.
    static let maxMachineMemory: UInt64 = 128 << 40
    static let blockSizes: ClosedRange<UInt64> = 2 << 20...1 << 40

    let blockSize: UInt64
    let nodes: [NodeDescription]
    let distances: [Topology.Distance]
    let possible: IDSet?

    /// Throws the first broken rule, in the order of the file.
    func check() throws(TopologyFault) {
        guard blockSize.nonzeroBitCount == 1, Self.blockSizes.contains(blockSize) else {
            throw TopologyFault(
                place: .machine(key: "block_size"), found: "block_size \(String(byteSize: blockSize))",
                expected: "a power of two from 2M to 1T")
        }
        var ids = IDSet()
        var cpuOwners: [Int: Int] = [:]
        var devices: [String: Int] = [:]
        var addresses: [PCIAddress: Int] = [:]
        var total: UInt64 = 0
        for (index, node) in nodes.enumerated() {
            func fail(_ key: String, _ found: String, _ expected: String) throws(TopologyFault) -> Never {
                throw TopologyFault(place: .node(index: index, key: key), found: found, expected: expected)
            }
            guard (0..<IDSet.maxNodes).contains(node.id) else {
                try fail("id", "node id \(node.id)", "0 to \(IDSet.maxNodes - 1)")
            }
            guard ids.insert(node.id).inserted else {
                try fail("id", "a second node with id \(node.id)", "a different id for each node")
            }
            try checkMemory(of: node, at: index)
            total += node.memory
            guard total <= Self.maxMachineMemory else {
                try fail("memory", "more than 128T of memory in all", "at most 128T in one machine")
            }
            try checkKind(of: node, at: index)
            if let hostNode = node.hostNode, !IDSet.hostNodes.contains(hostNode) {
                try fail("host_node", "host_node \(hostNode)", "one of the host's nodes, \(IDSet.hostNodes)")
            }
            try checkPCI(of: node, at: index, &addresses)
            try checkCaches(of: node, at: index)
            for cpu in node.cpus {
                guard cpu < IDSet.maxCPUs else { try fail("cpus", "CPU \(cpu)", "0 to \(IDSet.maxCPUs - 1)") }
                if let owner = cpuOwners.updateValue(node.id, forKey: cpu) {
                    try fail("cpus", "CPU \(cpu), which node \(owner) has already", "each CPU on one node only")
                }
            }
            if let device = node.device, let owner = devices.updateValue(node.id, forKey: device) {
                try fail(
                    "device", "device \"\(device)\", which node \(owner) has already",
                    "a different device for each node")
            }
        }
        guard nodes.contains(where: { $0.kind == .ram && $0.memory > 0 }) else {
            throw TopologyFault(
                place: .machine(key: nil), found: nodes.isEmpty ? "no node" : "no RAM",
                expected: "at least one [[node]] of kind \"ram\" with memory")
        }
        try checkDistances(ids)
        try checkPossible(ids)
    }

    private func checkPossible(_ ids: IDSet) throws(TopologyFault) {
        guard let possible else { return }
        func fail(_ found: String, _ expected: String) throws(TopologyFault) -> Never {
            throw TopologyFault(place: .machine(key: "possible"), found: found, expected: expected)
        }
        if let id = possible.max(), id >= IDSet.maxNodes {
            try fail("possible node \(id)", "0 to \(IDSet.maxNodes - 1)")
        }
        if let id = ids.first(where: { !possible.contains($0) }) {
            try fail("possible \(possible), without node \(id)", "a list with every node of this topology")
        }
    }

    private func checkMemory(of node: NodeDescription, at index: Int) throws(TopologyFault) {
        let memory = String(byteSize: node.memory)
        let place = TopologyPlace.node(index: index, key: "memory")
        guard node.memory.isMultiple(of: blockSize) else {
            throw TopologyFault(
                place: place, found: "memory \(memory)",
                expected: "a multiple of the block size \(String(byteSize: blockSize))")
        }
        guard node.memory <= Self.maxNodeMemory else {
            throw TopologyFault(place: place, found: "memory \(memory)", expected: "at most 2T on one node")
        }
        guard node.contiguous <= node.memory else {
            throw TopologyFault(
                place: .node(index: index, key: "contiguous"), found: "contiguous \(String(byteSize: node.contiguous))",
                expected: "at most the memory of the node, \(memory)")
        }
    }

    private func checkKind(of node: NodeDescription, at index: Int) throws(TopologyFault) {
        func fail(_ key: String, _ found: String, _ expected: String) throws(TopologyFault) -> Never {
            throw TopologyFault(place: .node(index: index, key: key), found: found, expected: expected)
        }
        switch node.kind {
        case .ram:
            if node.device != nil { try fail("device", "device on a ram node", "this key on coherent nodes only") }
            if node.isolation != .none {
                try fail("isolation", "isolation on a ram node", "this key on coherent nodes only")
            }
            if node.contiguous != 0 {
                try fail("contiguous", "contiguous on a ram node", "this key on coherent nodes only")
            }
        case .coherent:
            if !node.cpus.isEmpty { try fail("cpus", "cpus on a coherent node", "this key on ram nodes only") }
            if let device = node.device, !Self.isDeviceName(device) {
                try fail("device", "device \(clip(device))", "cdmN, with N from 0 to 1023")
            }
        }
        if node.kind == .ram, node.initiator != nil {
            try fail("initiator", "initiator on a ram node", "this key on coherent nodes only")
        }
        for (link, isInitiator) in [(node.link, false), (node.initiator, true)] {
            guard let link else { continue }
            for (key, figure) in Link.names where !Link.figures.contains(link[keyPath: figure]) {
                throw TopologyFault(
                    place: isInitiator ? .initiator(index: index, key: key) : .link(index: index, key: key),
                    found: "\(key) \(link[keyPath: figure])", expected: "1 to 1000000000")
            }
        }
    }

    private static func isDeviceName(_ name: String) -> Bool {
        guard name.hasPrefix("cdm"), let number = UInt16(name.dropFirst(3)), number < IDSet.maxNodes else {
            return false
        }
        return name == "cdm\(number)"
    }

    private func checkDistances(_ ids: IDSet) throws(TopologyFault) {
        var seen: Set<DistanceTable.Pair> = []
        for (index, distance) in distances.enumerated() {
            func fail(_ key: String, _ found: String, _ expected: String) throws(TopologyFault) -> Never {
                throw TopologyFault(place: .distance(index: index, key: key), found: found, expected: expected)
            }
            let (from, to) = (distance.from, distance.to)
            guard ids.contains(from) else { try fail("from", "distance from node \(from)", "a node of this topology") }
            guard ids.contains(to) else { try fail("to", "distance to node \(to)", "a node of this topology") }
            guard (10...255).contains(distance.value) else {
                try fail("value", "distance \(distance.value)", "10 to 255")
            }
            guard from != to || distance.value == 10 else {
                try fail("value", "distance \(distance.value) from node \(from) to itself", "10")
            }
            guard seen.insert(DistanceTable.Pair(from: from, to: to)).inserted else {
                try fail(
                    "from", "a second distance from node \(from) to node \(to)", "one distance for each pair of nodes")
            }
        }
    }
}
