import MachineTopology
import Testing

@testable import CoherentMemory

/// Policy × flags × isolation × cpuset × full nodes: where each page of a touch lands, or which error comes.
@Suite("Placement table")
struct PlacementTableTests {
    @Test("As Linux's documentation and the ABI have it", arguments: PlacementRows.all)
    func literal(row: String) throws {
        let scene = try PlacementScene(row)
        let found = try scene.run()
        #expect(found == scene.expected, "\(row), but it is \(found)")
    }

    @Test("Every combination, against the rules of the documentation one by one", arguments: ["nn", "ee", "en"])
    func combinations(isolation: String) throws {
        let policies: [String] = [
            "default", "local", "bind:0", "bind:2", "bind:1,3", "bind:2-3", "prefer:0", "prefer:2", "prefer:3",
            "many:2", "many:1,3", "many:2-3", "interleave:0-3", "interleave:1,3", "interleave:2-3", "weighted:0-3",
            "bind=static:1,3", "bind=relative:1", "prefer=static:2", "interleave=static:0,3", "interleave=relative:0-2",
            "interleave=relative:3", "many=static:2-3", "weighted=relative:1-2",
        ]
        let groups: [IDSet?] = [nil, [0], [1], [2], [0, 1], [2, 3], [0, 3], [1, 2, 3]]
        let fulls: [IDSet] = [[], [0], [0, 1], [2], [2, 3], [1, 3], [0, 1, 2, 3]]
        var problems: [String] = []
        for full in fulls {
            let machine = try Machine(topology: PlacementScene.topology("four"))
            for node in full { try PlacementScene.fill(machine, node: node) }
            var isolated = IDSet()
            for (device, letter) in zip(machine.devices, isolation) where letter == "e" {
                try machine.setIsolation(.exclusive, of: device.node)
                isolated.insert(device.node.id)
            }
            let tasks = FakeTasks()
            machine.setTaskDirectory(tasks)
            for (place, mems) in groups.enumerated() {
                let id = Int32(100 + place)
                tasks.fork(id)
                guard let mems else { continue }
                let group = try machine.makeGroup("\(place)", in: machine.rootGroup)
                _ = try machine.setMems(mems, of: group)
                _ = try machine.attach(process: id, to: group)
            }
            for words in policies {
                let policy = try PlacementScene.policy(words, in: machine)
                for (place, mems) in groups.enumerated() {
                    for cpu in 0...1 {
                        let buffer = machine.makeBuffer()
                        try machine.setPolicy(policy, of: buffer)
                        try machine.resize(buffer, to: 4 * 4096)
                        let found = try PlacementScene.touch(
                            machine, buffer, pages: 0..<4, origin: Origin(pid: Int32(100 + place), node: cpu))
                        machine.remove(buffer)
                        let allowed: IDSet = mems ?? [0, 1, 2, 3]
                        let oracle = PlacementOracle(
                            mode: policy.mode, nodes: Array(policy.nodes), flag: policy.flag,
                            mems: Array(allowed), isolated: Array(isolated), full: Array(full),
                            cpu: cpu)
                        let expected = (0..<4).map { (page: Int) -> String in oracle.landing(page: page) }.joined()
                        if found != expected {
                            let group = mems?.description ?? "-"
                            problems.append(
                                "\(isolation) buffer \(words) mems \(group) full \(full) cpu \(cpu) -> \(expected): \(found)"
                            )
                        }
                    }
                }
            }
            try machine.checkInvariants()
        }
        #expect(problems.isEmpty, "\(problems.count) wrong:\n\(problems.prefix(12).joined(separator: "\n"))")
    }
}

/// The documentation's rules for one page, in the order in which it gives them; it shares nothing with the machine.
private struct PlacementOracle {
    let mode: MemoryPolicy.Mode
    let nodes: [Int]
    let flag: MemoryPolicy.NodeFlag?
    let mems: [Int]
    let isolated: [Int]
    let full: [Int]
    let cpu: Int

    /// mm/page_alloc.c, build_zonelists(): the node itself, then the others in order of distance.
    private static let order = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 0, 1, 3], [3, 1, 0, 2]]

    /// numa_memory_policy.rst, "optional mode flags".
    private var effective: [Int] {
        switch flag {
        // "the memory policy is applied to their intersection"
        case .static: nodes.filter { mems.contains($0) }
        // "the remap wraps around to the beginning of the nodemask and, if not already set, sets the node"
        case .relative: mems.indices.filter { place in nodes.contains { $0 % mems.count == place } }.map { mems[$0] }
        case nil: nodes
        }
    }

    func landing(page: Int) -> String {
        let named = effective
        var mode = mode
        // "If the two sets of nodes do not overlap, the Default policy is used."
        if named.isEmpty { mode = .default }
        // mempolicy.c, policy_nodemask(): a bind that no allowed node is in restricts nothing.
        if mode == .bind, !named.contains(where: mems.contains) { mode = .default }
        var tried: [Int]
        switch mode {
        case .default, .local: tried = Self.order[cpu]
        // "from the node in the set with sufficient free memory that is closest to the node where the allocation takes place"
        case .bind: tried = Self.order[cpu].filter(named.contains)
        // "in order of increasing distance from the preferred node"
        case .prefer: tried = Self.order[named[0]]
        // "If there is a memory pressure on all nodes in the nodemask, the allocation can fall back to all existing numa nodes."
        case .preferMany: tried = Self.order[cpu].filter(named.contains) + Self.order[cpu]
        // "using the page offset ... modulo the number of nodes specified by the policy. It then attempts to allocate a page,
        // starting at the selected node, as if the node had been specified by a Preferred policy"; all weights are 1 here.
        case .interleave, .weightedInterleave: tried = Self.order[named[page % named.count]]
        }
        // "When both cpusets and policies are applied to a task, the restrictions of the cpuset takes priority."
        tried = tried.filter(mems.contains)
        // ABI: under exclusive isolation a page lands on a node only when that was named.
        let isNaming = mode != .default && mode != .local
        tried = tried.filter { (node: Int) -> Bool in !isolated.contains(node) || (isNaming && named.contains(node)) }
        return tried.first { !full.contains($0) }.map(String.init) ?? "m"
    }
}
