import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// What each right of a node lets happen, alone, in pairs, and as the words of isolation have them. The expected columns
/// follow the text of the proposals ("Private memory nodes", 2026: what a capability re-enables; 2016 and 2017: isolation).
@Suite("Capability table")
struct CapabilityTableTests {
    /// `node` with each other right alone and with each pair of them, and every word.
    static let sets: [NodeCapabilities] = {
        let rights = NodeCapabilities.table.map(\.capability).filter { $0 != .node }
        var sets = Isolation.allCases.map(\.capabilities) + rights.map { [.node, $0] }
        for (place, first) in rights.enumerated() {
            for second in rights[(place + 1)...] { sets.append([.node, first, second]) }
        }
        return sets
    }()

    @Test("Each right alone and in pairs lets happen what it names and nothing else")
    func pairs() throws {
        var problems: [String] = []
        for set in Self.sets {
            let name = set.names.joined(separator: "+")
            guard CapabilityOracle(set).isPossible else {
                let error = failure { () throws(Errno) in
                    let machine = try CapabilityScene.machine()
                    try machine.updateCapabilities(of: machine.node(2)!) { $0 = set }
                }
                if error != .invalidArgument { problems.append("\(name): \(error.map { "\($0)" } ?? "accepted")") }
                continue
            }
            let found = try CapabilityScene(set).columns()
            let expected = CapabilityOracle(set).columns
            for (column, outcome) in expected.sorted(by: { $0.key < $1.key }) where found[column] != outcome {
                problems.append("\(name), \(column): \(found[column] ?? "nothing") instead of \(outcome)")
            }
            #expect(found.count == expected.count)
        }
        #expect(problems.isEmpty, "\(problems.count) wrong:\n\(problems.prefix(20).joined(separator: "\n"))")
    }

    @Test("A right without those that it needs is EINVAL, and nothing changes")
    func needs() throws {
        let machine = try CapabilityScene.machine()
        let node = machine.node(2)!
        let before = node.capabilities
        for set: NodeCapabilities in [
            [.mempolicy], [.node, .demotion], [.node, .fallback], [.node, .init(rawValue: 1 << 31)],
        ] {
            #expect(
                failure { () throws(Errno) in try machine.updateCapabilities(of: node) { $0 = set } }
                    == .invalidArgument)
        }
        #expect(
            failure { () throws(Errno) in try machine.updateCapabilities(of: machine.node(0)!) { $0 = [] } }
                == .invalidArgument)
        #expect(node.capabilities == before && machine.node(0)!.capabilities == .all)
    }

    @Test("The words stand for sets of their own, and say so")
    func words() {
        #expect(Isolation.allCases.map(\.rawValue) == ["none", "exclusive", "restricted", "driver", "private"])
        for word in Isolation.allCases {
            #expect(Isolation(word.capabilities) == word && Isolation(rawValue: word.rawValue) == word)
            #expect(word.capabilities.isConsistent)
        }
        #expect(Isolation([.node, .reclaim]) == nil && Isolation(rawValue: "None") == nil)
        #expect(Set(NodeCapabilities.table.map(\.name)).count == NodeCapabilities.table.count)
    }

    @Test("Pages that come to a pinned buffer are never on a node that does not let them be pinned")
    func pinnedLanding() throws {
        let machine = try CapabilityScene.machine()
        let node = machine.node(2)!
        let buffer = try machine.makeBuffer("prefer:2", size: 8 * 4096)
        try machine.setPinned(true, of: buffer)
        try machine.updateCapabilities(of: node) { $0.remove(.longtermPin) }
        #expect(try PlacementScene.touch(machine, buffer, pages: 0..<2, origin: onNode0) == "00")
        try machine.setPinned(false, of: buffer)
        #expect(try PlacementScene.touch(machine, buffer, pages: 2..<4, origin: onNode0) == "22")
        #expect(failure { () throws(Errno) in try machine.setPinned(true, of: buffer) } == .notPermitted)
        #expect(!buffer.isPinned)
        try machine.checkInvariants()
    }

    @Test("No cpuset takes a node that it does not govern from a policy, nor maps it to another")
    func ungoverned() throws {
        let machine = try CapabilityScene.machine()
        let tasks = FakeTasks()
        machine.setTaskDirectory(tasks)
        tasks.fork(100)
        try machine.updateCapabilities(of: machine.node(2)!) { $0.remove(.cpuset) }
        let group = try machine.makeGroup("a", in: machine.rootGroup)
        _ = try machine.setMems([0, 2], of: group)
        #expect(machine.effectiveMems(of: group) == [0] && machine.allowedNodes(of: group) == [0, 2])
        _ = try machine.attach(process: 100, to: group)
        try machine.setPolicy(MemoryPolicy(parsing: "bind:0,2", available: machine.nodesWithMemory), ofTask: 100)
        #expect(try machine.policy(ofTask: 100).description == "bind:0,2")
        _ = try machine.setMems([1], of: group)
        #expect(try machine.policy(ofTask: 100).description == "bind:1-2")
        try machine.setPolicy(MemoryPolicy(parsing: "bind:2", available: machine.nodesWithMemory), ofTask: 100)
        _ = try machine.setMems([0], of: group)
        #expect(try machine.policy(ofTask: 100).description == "bind:2")
        let buffer = try machine.makeBuffer("default", size: 4096)
        #expect(try PlacementScene.touch(machine, buffer, pages: 0..<1, origin: Origin(pid: 100, node: 0)) == "2")
    }
}

/// A machine of RAM 0 and 1 and a coherent node 2 that has some rights, and what comes of each attempt.
struct CapabilityScene {
    private static let (task, holder): (Int32, Int32) = (100, 200)
    private let set: NodeCapabilities

    init(_ set: NodeCapabilities) { self.set = set }

    static func machine() throws(Errno) -> Machine {
        do {
            return try Machine(
                topology: Topology(
                    blockSize: 2 * mebibyte,
                    nodes: [
                        .ram(id: 0, memory: 4 * mebibyte, cpus: [0]), .ram(id: 1, memory: 4 * mebibyte, cpus: [1]),
                        .coherent(id: 2, memory: 4 * mebibyte, isolation: .none),
                    ]))
        } catch { throw error as? Errno ?? .ioError }
    }

    /// A machine with tasks; `body` does what has to be done before the node gets its rights.
    private func machine(_ body: (Machine) throws -> Void = { _ in }) throws -> Machine {
        let machine = try Self.machine()
        let tasks = FakeTasks()
        tasks.fork(Self.task)
        tasks.fork(Self.holder)
        tasks.open("cdm0", by: Self.holder)
        machine.setTaskDirectory(tasks)
        try body(machine)
        try machine.updateCapabilities(of: machine.node(2)!) { $0 = set }
        return machine
    }

    private func word(_ error: Errno?) -> String {
        switch error {
        case nil: "ok"
        case .invalidArgument?: "EINVAL"
        case .notPermitted?: "EPERM"
        case .operationNotSupportedByDevice?: "ENODEV"
        case .resourceBusy?: "EBUSY"
        case let error?: "\(error)"
        }
    }

    func columns() throws -> [String: String] {
        var columns = try empty()
        // What concerns pages that are there cannot be asked of a node that is given up only when it has none.
        if set.contains(.node) { columns.merge(try inUse()) { $1 } }
        return columns
    }

    /// The outcomes on a node without pages.
    private func empty() throws -> [String: String] {
        var columns: [String: String] = [:]
        let buffer = UncheckedBox<Buffer?>(nil)
        let machine = try machine { machine in buffer.value = try machine.makeBuffer("bind:2", size: 16 * 4096) }
        let node = machine.node(2)!
        let shared = buffer.value!
        for (column, id) in [("bind", Self.task), ("bind, open", Self.holder)] {
            let own = try machine.makeBuffer("default", size: 4096)
            let error = failure { () throws(Errno) in
                try machine.checkAccess(to: [2], by: id)
                let policy = try MemoryPolicy(parsing: "bind:2", available: machine.nodesWithMemory)
                try machine.setPolicy(policy, of: own, by: id)
            }
            columns[column] =
                error == nil
                ? try PlacementScene.touch(machine, own, pages: 0..<1, origin: Origin(pid: id, node: 0)) : word(error)
        }
        let group = try machine.makeGroup("a", in: machine.rootGroup)
        _ = try machine.setMems([0, 1], of: group)
        _ = try machine.attach(process: Self.task, to: group)
        columns["cpuset"] = try PlacementScene.touch(
            machine, shared, pages: 0..<1, origin: Origin(pid: Self.task, node: 0))
        columns["effective mems"] = "\(machine.effectiveMems(of: machine.rootGroup))"
        _ = try machine.attach(process: Self.task, to: machine.rootGroup)
        let other = try machine.makeBuffer("bind:0", size: 4096)
        _ = try PlacementScene.touch(machine, other, pages: 0..<1, origin: onNode0)
        columns["move in"] = word(failure { () throws(Errno) in try machine.migrate(other, to: 2) })
        columns["demotion"] = machine.demotionTargets(of: machine.node(0)!).contains { $0.id == 2 } ? "ok" : "no"
        columns["has_memory"] = "\(machine.nodesWithMemory)"
        columns["memory"] = node.hasMemory ? "ok" : "no"
        columns["zonelists"] = [0, 2].map { id in
            machine.zonelists(of: machine.node(id)!).map { $0.nodes.contains(2) ? "2" : "-" }.joined()
        }.joined(separator: " ")
        columns["device file"] = try PlacementScene.touch(
            machine, machine.devices[0].memory, pages: 0..<1, origin: Origin(pid: Self.task, node: 0))
        machine.setHugePages(1, of: node)
        columns["own pool"] = "\(node.usage.hugePool.total)"
        machine.setHugePages(0)
        machine.setHugePages(100)
        columns["pool"] = node.usage.hugePool.total > 0 ? "ok" : "no"
        machine.setHugePages(0)
        for id in [0, 1] { try PlacementScene.fill(machine, node: id) }
        let late = try machine.makeBuffer("default", size: 4096)
        columns["fallback"] = try PlacementScene.touch(
            machine, late, pages: 0..<1, origin: Origin(pid: Self.task, node: 0))
        try machine.checkInvariants()
        return columns
    }

    /// The outcomes with pages there from before.
    private func inUse() throws -> [String: String] {
        var columns: [String: String] = [:]
        let buffer = UncheckedBox<Buffer?>(nil)
        func machine() throws -> (Machine, PageCache, Buffer) {
            let cache = UncheckedBox<PageCache?>(nil)
            let machine = try self.machine { machine in
                let own = try machine.makeBuffer("default", size: 8 * 4096)
                cache.value = PageCache(machine, mapping: [own])
                for page in 0..<8 {
                    _ = cache.value!.touch(own, page: page) { bytes in (bytes[0] = 1, stored: true) }
                }
                try machine.migrate(own, to: 2)
                buffer.value = own
            }
            return (machine, cache.value!, buffer.value!)
        }
        do {
            let (machine, _, buffer) = try machine()
            columns["pin"] = word(failure { () throws(Errno) in try machine.setPinned(true, of: buffer) })
            try machine.setPinned(false, of: buffer)
            columns["move out"] = word(failure { () throws(Errno) in try machine.migrate(buffer, to: 0) })
            columns["moved"] = "\(machine.pages(of: buffer))"
            try machine.checkInvariants()
        }
        do {
            let (machine, _, buffer) = try machine()
            let device = machine.devices[0]
            columns["offline"] = word(failure { () throws(Errno) in try machine.offline(device) })
            machine.remove(buffer)
            // A node without pages goes whatever its rights are.
            columns["offline, empty"] = word(failure { () throws(Errno) in try machine.offline(device) })
            if device.state == .offline { columns["offline, empty"] = "ok" }
            try machine.checkInvariants()
        }
        do {
            let (machine, cache, buffer) = try machine()
            machine.balancing.mode = .tiering
            for _ in 0..<3 {
                for page in 0..<8 { _ = cache.touch(buffer, page: page) { bytes in (bytes[0] = 2, stored: true) } }
                var position = Balancer.ScanPosition()
                machine.balancer.mark(1000, .tiering, from: &position, isCancelled: { false })
                for page in 0..<8 { _ = cache.touch(buffer, page: page) { bytes in (bytes[0] = 2, stored: true) } }
                machine.balancer.moveMisplaced(isCancelled: { false })
            }
            columns["balancing"] = machine.pages(of: buffer) == [0: 8] ? "ok" : "no"
            try machine.checkInvariants()
        }
        do {
            let zero = UncheckedBox<Buffer?>(nil)
            let machine = try self.machine { machine in
                zero.value = try machine.makeBuffer("bind:2", size: 4096)
                _ = try PlacementScene.touch(machine, zero.value!, pages: 0..<1, origin: onNode0)
            }
            columns["reclaim"] = "\(try machine.reclaim(1, of: machine.node(2)!, demotingTo: [], waitForUse: {}))"
            machine.isDemotionEnabled = true
            try machine.checkInvariants()
        }
        return columns
    }
}

/// A place for a value that a closure sets.
final class UncheckedBox<Value> {
    var value: Value
    init(_ value: Value) { self.value = value }
}

/// The proposals' text, column by column.
private struct CapabilityOracle {
    let set: NodeCapabilities

    init(_ set: NodeCapabilities) { self.set = set }

    private func isDisjoint(with rights: NodeCapabilities) -> Bool { set.isDisjoint(with: rights) }

    private func has(_ right: NodeCapabilities) -> Bool { set.contains(right) }

    /// "DEMOTION requires RECLAIM"; what the system takes unasked may be named, too. An inconsistent set "fails when the node is
    /// hotplugged (-EINVAL from registration)".
    var isPossible: Bool {
        (!has(.demotion) || has(.reclaim)) && (isDisjoint(with: [.fallback, .kernel]) || has(.mempolicy))
            && (set.isEmpty || has(.node))
    }

    var columns: [String: String] {
        var columns: [String: String] = [:]
        // "a private node is dropped from a userspace nodemask unless it is opted in via CAP_MEMPOLICY"
        columns["bind"] = !has(.mempolicy) ? "EINVAL" : has(.anyTask) ? "2" : "EPERM"
        columns["bind, open"] = has(.mempolicy) ? "2" : "EINVAL"
        // "cpuset neither grants nor denies access"; what was named before and may not be named now is nowhere to be had.
        columns["cpuset"] =
            has(.cpuset) || !has(.node) ? "0" : !has(.mempolicy) ? "m" : has(.anyTask) ? "2" : "p"
        columns["effective mems"] = has(.cpuset) ? "0-2" : "0-1"
        // "a private node is a valid migration target only if opted in": move_pages() returns -ENODEV.
        columns["move in"] = has(.userMigrate) ? "ok" : "ENODEV"
        // "the node joins the demotion hierarchy"
        columns["demotion"] = has(.demotion) ? "ok" : "no"
        // "Update has_memory to include N_MEMORY_PRIVATE nodes with NP_OPS_MEMPOLICY set"
        columns["has_memory"] = has(.mempolicy) ? "0-2" : "0-1"
        columns["memory"] = has(.node) ? "ok" : "no"
        // "build_zonelists() omits private nodes from both the FALLBACK and the NOFALLBACK zonelists"; 2016: an isolated node
        // stands in its own.
        let own = has(.mempolicy) ? "22" : "--"
        columns["zonelists"] = "\(has(.fallback) ? "2" : "-")- \(own)"
        // The driver always has its memory.
        columns["device file"] = "2"
        // "slab and hugetlb allocations … can never select a private node"
        columns["own pool"] = has(.mempolicy) ? "1" : "0"
        columns["pool"] = has(.kernel) ? "ok" : "no"
        columns["fallback"] = has([.fallback, .anyTask]) ? "2" : "m"
        guard has(.node) else { return columns }
        // "A FOLL_LONGTERM pin of a folio on a private node that did NOT opt into longterm pinning must fail outright and leave
        // the folio in place"
        columns["pin"] = has(.longtermPin) ? "ok" : "EPERM"
        // "A private-node folio may be migrated off only if its node is opted in"
        columns["move out"] = has(.userMigrate) ? "ok" : "EBUSY"
        columns["moved"] = has(.userMigrate) ? "[0: 8]" : "[2: 8]"
        // "hot-unplug via migration"
        columns["offline"] = has(.hotunplug) ? "ok" : "EBUSY"
        columns["offline, empty"] = "ok"
        // "access-based NUMA balancing scan/migration of the node's folios"
        columns["balancing"] = has(.numaBalancing) ? "ok" : "no"
        // "reclaim of the node's folios, by the mm and by userspace"
        columns["reclaim"] = has(.reclaim) ? "1" : "0"
        return columns
    }
}
