import MachineTopology
import SystemPackage

@testable import CoherentMemory

/// A random walk of the machine and of the model, step by step in company.
struct Walk {
    struct Disagreement: Error, CustomStringConvertible {
        let description: String
    }

    let seed: UInt64
    let machine: Machine
    var model: Model
    var random: SplitMix64
    /// Every buffer that lives, in the order they were made.
    var buffers: [Buffer]
    private(set) var steps = 0
    private var history: [String] = []

    init(seed: UInt64, topology: Topology) throws {
        self.seed = seed
        random = SplitMix64(seed: seed)
        machine = try Machine(topology: topology)
        model = Model(of: topology)
        buffers = machine.buffers
        for device in machine.devices {
            model.buffers[device.memory.id] = Model.Buffer(
                size: device.memory.size, isFixed: true, policy: .init(mode: .bind, nodes: [device.node.id]))
        }
        try compare()
    }

    mutating func note(_ operation: String) {
        history.append(operation)
        if history.count > 12 { history.removeFirst() }
    }

    func fail(_ what: String) -> Disagreement {
        Disagreement(
            description: "seed \(seed), step \(steps): \(what)\nafter:\n  " + history.joined(separator: "\n  "))
    }

    func expect<T: Equatable>(_ real: T, _ expected: T, _ what: @autoclosure () -> String) throws {
        if real != expected { throw fail("\(what()): \(real), the model says \(expected)") }
    }

    func expect(_ real: Result<Void, Errno>, _ expected: Result<Void, Errno>, _ what: String) throws {
        try expect(real.errno, expected.errno, what)
    }

    /// One random operation on both, and the comparison of all that can be seen.
    mutating func step() throws {
        steps += 1
        let refusedBefore = machine.nodes.map(\.statistics.refusedFallback)
        let refused = try operate()
        for (node, before) in zip(machine.nodes, refusedBefore) {
            // One request of ours is several of the machine's: that it was counted is certain, how often is not.
            let grown = node.statistics.refusedFallback > before
            try expect(grown, refused.contains(node.id), "node \(node.id) counts refusals")
        }
        try compare()
        if steps.isMultiple(of: 64) { try compareContents() }
    }

    /// Compares what can be had at little cost.
    func compare() throws {
        var written = [Int](repeating: 0, count: machine.nodes.count)
        for buffer in buffers {
            let expected = model.buffers[buffer.id]!
            try expect(buffer.size, expected.size, "size of buffer \(buffer.id)")
            var counts = [Int](repeating: 0, count: machine.nodes.count)
            for page in expected.pages.values where page.failedAt == nil {
                counts[page.node] += 1
                if page.isWritten { written[page.node] += 1 }
            }
            let placement = machine.pages(of: buffer)
            try expect(machine.nodes.map { placement[$0.id] ?? 0 }, counts, "placement of buffer \(buffer.id)")
        }
        for node in machine.nodes {
            let usage = node.usage
            let numbers = machine.blockNumbers(of: node)
            try expect(numbers, model.nodes[node.id].numbers, "blocks of node \(node.id)")
            try expect(
                numbers.map { machine.block($0)?.state == .online }, model.nodes[node.id].blocks,
                "blocks of node \(node.id) online")
            try expect(usage.present, model.present(node.id), "node \(node.id) present")
            try expect(usage.free, model.free(node.id), "node \(node.id) free")
            try expect(usage.allocated, model.nodes[node.id].used, "node \(node.id) allocated")
            try expect(usage.written, written[node.id], "node \(node.id) written")
            var statistics = node.statistics
            statistics.refusedFallback = 0
            try expect(statistics, model.nodes[node.id].statistics, "node \(node.id) statistics")
        }
    }

    /// Compares every page and every byte, and checks the machine against itself.
    func compareContents() throws {
        for buffer in buffers {
            let expected = model.buffers[buffer.id]!
            try expect(nodes(of: buffer), expected.pages.mapValues(\.node), "pages of buffer \(buffer.id)")
            for (page, content) in expected.pages where page * 4096 < expected.size {
                let count = Int(min(4096, expected.size - page * 4096))
                if content.failedAt != nil {
                    let error = failure { () throws(Errno) in
                        try machine.bytes(of: buffer, at: page * 4096, count: count)
                    }
                    try expect(error, .ioError, "buffer \(buffer.id), page \(page)")
                    continue
                }
                // The page is there already: reading it allocates nothing.
                let bytes = try machine.bytes(of: buffer, at: page * 4096, count: 4096)
                if bytes != Array(content.bytes.prefix(count)) {
                    throw fail("buffer \(buffer.id), page \(page): other bytes")
                }
            }
        }
        do {
            try machine.checkInvariants()
        } catch {
            throw fail("\(error)")
        }
    }

    /// The node of each page of a buffer.
    func nodes(of buffer: Buffer) -> [UInt64: Int] {
        var nodes: [UInt64: Int] = [:]
        for run in machine.runs(of: buffer) {
            for page in run.offset / 4096..<(run.offset + run.length) / 4096 { nodes[page] = run.node }
        }
        return nodes
    }
}

extension Result where Failure == Errno {
    var errno: Errno? { if case .failure(let error) = self { error } else { nil } }
}
