import LinuxSupport
import MachineTopology
import SystemPackage

@testable import CoherentMemory

/// A row of the placement table in words, and the machine that it speaks of.
///
///     MACHINE ISOLATION [WORD VALUE]… -> RESULT
///
/// * `two`: node 0 of RAM with all CPUs, coherent node 1. `four`: RAM 0 and 1 with a CPU each, coherent 2 beside 0 and 3
///   beside 1; seen from 0 the order is 0 1 2 3, from 1 it is 1 0 3 2, from 2 it is 2 0 1 3, from 3 it is 3 1 0 2.
/// * Isolation: a letter for each coherent node: n(one), e(xclusive), r(estricted), d(river).
/// * `mems LIST`: the task's group; `then LIST`: what it is changed to once the policies stand (`-`: nothing asked for).
/// * `open LIST`, `member LIST`: nodes whose device the task holds open, whose `tasks` it stands in.
/// * `shared POLICY`: the buffer's policy, set by nobody in particular before the isolation; `buffer POLICY`: set by the
///   task; `task POLICY`: its own. `many` and `weighted` stand for the modes with a space in their names.
/// * `device N`: the touches are of that node's device file. `weights N=W,…`. `cpu N`: where the task runs, 0 if nowhere.
/// * `full LIST`: nodes without a free frame; `room N=FRAMES,…`: with so many.
/// * Result: the node of each of the pages 0 to 3, touched one by one, `m` for ENOMEM, `p` for EPERM; or `set ERRNO`.
struct PlacementScene {
    private static let task: Int32 = 100

    let row: String
    private(set) var expected = ""
    private var words: [String: [String]] = [:]
    private let name: String
    private let isolation: [Isolation]

    init(_ row: String) throws {
        self.row = row
        let halves = row.split(separator: " -> ")
        guard halves.count == 2 else { throw Malformed(row: row) }
        expected = String(halves[1])
        let tokens = halves[0].split(separator: " ").map(String.init)
        guard tokens.count >= 2, tokens.count.isMultiple(of: 2) else { throw Malformed(row: row) }
        name = tokens[0]
        let letters: [Character: Isolation] = ["n": .none, "e": .exclusive, "r": .restricted, "d": .driver]
        isolation = tokens[1].compactMap { letters[$0] }
        let known: Set = [
            "mems", "then", "open", "member", "shared", "buffer", "task", "device", "weights", "cpu", "full", "room",
        ]
        for place in stride(from: 2, to: tokens.count, by: 2) {
            guard known.contains(tokens[place]) else { throw Malformed(row: row) }
            words[tokens[place], default: []].append(tokens[place + 1])
        }
    }

    struct Malformed: Error { let row: String }

    static func topology(_ name: String) throws -> Topology {
        guard name == "four" else { return try .small(ram: 2, coherent: [2], isolation: .none) }
        let size = 2 * mebibyte
        return try Topology(
            blockSize: size,
            nodes: [
                .ram(id: 0, memory: size, cpus: [0]), .ram(id: 1, memory: size, cpus: [1]),
                .coherent(id: 2, memory: size, isolation: .none), .coherent(id: 3, memory: size, isolation: .none),
            ],
            distances: [
                .init(from: 0, to: 1, value: 20), .init(from: 0, to: 2, value: 40), .init(from: 0, to: 3, value: 60),
                .init(from: 1, to: 2, value: 60), .init(from: 1, to: 3, value: 40), .init(from: 2, to: 3, value: 80),
            ])
    }

    static func policy(_ words: String, in machine: Machine) throws(Errno) -> MemoryPolicy {
        var words = words
        for (short, long) in [("many", "prefer (many)"), ("weighted", "weighted interleave")]
        where words.hasPrefix(short) {
            words = long + words.dropFirst(short.count)
        }
        return try MemoryPolicy(parsing: words, available: machine.nodesWithMemory)
    }

    private func list(_ word: String) throws -> IDSet {
        try words[word]?.first.map { try IDSet(list: $0[...]) } ?? IDSet()
    }

    private func pairs(_ word: String) -> [(node: Int, value: Int)] {
        (words[word]?.first ?? "").split(separator: ",").map { pair in
            let sides = pair.split(separator: "=").map { Int($0)! }
            return (sides[0], sides[1])
        }
    }

    /// Leaves a node so many free frames, and the others as they are.
    static func fill(_ machine: Machine, node: Int, room: Int = 0) throws {
        let buffer = try machine.makeBuffer("bind:\(node)")
        let count = machine.node(node)!.usage.free - room
        guard count > 0 else { return }
        try machine.allocate(buffer, bytes: 0..<UInt64(count) * 4096, keepsSize: false, origin: onNode0)
    }

    /// Builds the machine, touches the pages, and says what came of it in the words of the row.
    func run() throws -> String {
        let machine = try Machine(topology: Self.topology(name))
        let tasks = FakeTasks()
        tasks.fork(Self.task)
        machine.setTaskDirectory(tasks)
        for id in try list("open") { tasks.open(machine.devices.first { $0.node.id == id }!.name, by: Self.task) }
        for id in try list("member") { try machine.setPermitted(true, process: Self.task, on: machine.node(id)!) }
        for (node, weight) in pairs("weights") { try machine.setInterleaveWeight(weight, of: machine.node(node)!) }
        for node in try list("full") { try Self.fill(machine, node: node) }
        for (node, room) in pairs("room") { try Self.fill(machine, node: node, room: room) }

        let group = try machine.makeGroup("group", in: machine.rootGroup)
        _ = try machine.setMems(list("mems"), of: group)
        if words["mems"] != nil { _ = try machine.attach(process: Self.task, to: group) }
        var buffer = machine.makeBuffer()
        try machine.resize(buffer, to: 4 * 4096)
        if let words = words["shared"]?.first {
            try machine.setPolicy(Self.policy(words, in: machine), of: buffer)
        }
        for (device, isolation) in zip(machine.devices, isolation) {
            try machine.setIsolation(isolation, of: device.node)
        }
        if let error = failure({ () throws(Errno) in try setPolicies(machine, buffer) }) {
            return "set \(error == .invalidArgument ? "EINVAL" : error == .notPermitted ? "EPERM" : "\(error)")"
        }
        for mems in words["then"] ?? [] {
            _ = try machine.setMems(mems == "-" ? IDSet() : IDSet(list: mems[...]), of: group)
        }
        if let node = words["device"]?.first.flatMap({ Int($0) }) {
            buffer = machine.devices.first { $0.node.id == node }!.memory
        }
        let origin = Origin(pid: Self.task, node: Int(words["cpu"]?.first ?? "0")!)
        let result = try Self.touch(machine, buffer, pages: 0..<4, origin: origin)
        try machine.checkInvariants()
        return result
    }

    private func setPolicies(_ machine: Machine, _ buffer: Buffer) throws(Errno) {
        if let words = words["task"]?.first {
            try machine.setPolicy(Self.policy(words, in: machine), ofTask: Self.task)
        }
        if let words = words["buffer"]?.first {
            try machine.setPolicy(Self.policy(words, in: machine), of: buffer, by: Self.task)
        }
    }

    /// Touches pages one by one, as faults do.
    static func touch(_ machine: Machine, _ buffer: Buffer, pages: Range<UInt64>, origin: Origin) throws -> String {
        var result = ""
        for page in pages {
            let error = failure { () throws(Errno) in
                try machine.bytes(of: buffer, at: page * 4096, count: 4096, origin: origin)
            }
            switch error {
            case nil: result += machine.nodeOfPage(page, in: buffer).map { "\($0)" } ?? "-"
            case .noMemory?: result += "m"
            case .notPermitted?: result += "p"
            case let error?: throw error
            }
        }
        return result
    }
}

extension Machine {
    /// The id of the node that has a page, nil for one that was never touched.
    func nodeOfPage(_ page: UInt64, in buffer: Buffer) -> Int? {
        buffer.state.withLock { state in
            let entry = state.pages.table[page]
            return entry.isPresent ? nodeMap.node(of: entry.pfn).id : nil
        }
    }
}
