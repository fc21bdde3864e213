import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// Worked examples of where pages land; the random walks cover the rest.
@Suite("Placement")
struct PlacementRuleTests {
    private static let pages2M = 512

    @Test("Fallback goes by distance, among equals to the next number first")
    func fallback() throws {
        let machine = try Machine(
            topology: Topology(
                blockSize: 2 * mebibyte,
                nodes: [
                    .ram(id: 0, memory: 2 * mebibyte, cpus: [0]), .ram(id: 2, memory: 2 * mebibyte, cpus: [1]),
                    .ram(id: 5, memory: 0, cpus: [2]), .coherent(id: 6, memory: 2 * mebibyte, isolation: .none),
                    .ram(id: 7, memory: 2 * mebibyte),
                ],
                distances: [.init(from: 0, to: 6, value: 15), .init(from: 7, to: 2, value: 12)]))
        func order(_ id: Int) -> [Int] {
            let node = machine.node(id)!
            return (0..<machine.nodes.count).map { machine.nodes[Int(node.fallback[$0])].id }
        }
        #expect(order(0) == [0, 6, 2, 5, 7])
        #expect(order(2) == [2, 7, 5, 0, 6])
        #expect(order(5) == [5, 7, 0, 2, 6])
        #expect(order(6) == [6, 0, 7, 2, 5])
        #expect(order(7) == [7, 2, 0, 5, 6])
        // A node of CPUs alone: its tasks get memory from the nearest that has any.
        let buffer = try machine.makeBuffer("default", size: 4096)
        _ = try machine.bytes(of: buffer, at: 0, count: 4096, origin: Origin(pid: 1, node: 5))
        #expect(machine.pages(of: buffer) == [7: 1])
        #expect(machine.node(7)!.statistics.hit == 1 && machine.node(7)!.statistics.other == 1)
    }

    private func fill(_ machine: Machine, node: Int) throws {
        let buffer = try machine.makeBuffer("bind:\(node)")
        let free = machine.node(node)!.usage.free
        try machine.allocate(buffer, bytes: 0..<UInt64(free) * 4096, keepsSize: false, origin: onNode0)
    }

    @Test("Exclusive: an overflow never lands there, is refused and counted; naming the node works")
    func exclusive() throws {
        let machine = try Machine(ram: 2, coherent: [2])
        try fill(machine, node: 0)
        let buffer = try machine.makeBuffer("default", size: 8 << 12)
        let coherent = machine.node(1)!
        // A read-ahead of many pages is not what a program asked for: the touch of the page itself is counted.
        #expect(failure { () throws(Errno) in try machine.bytes(of: buffer, at: 0, count: 8 << 12) } == .noMemory)
        #expect(coherent.statistics.refusedFallback == 0)
        #expect(failure { () throws(Errno) in try machine.bytes(of: buffer, at: 4096, count: 4096) } == .noMemory)
        #expect(coherent.statistics.refusedFallback == 1)
        #expect(failure { () throws(Errno) in try machine.store([1], to: buffer, at: 0) } == .noSpace)
        #expect(coherent.statistics.refusedFallback == 2)
        #expect(
            failure { () throws(Errno) in
                try machine.allocate(buffer, bytes: 0..<8192, keepsSize: true, origin: onNode0)
            } == .noSpace)
        #expect(coherent.statistics.refusedFallback == 3)
        #expect(coherent.usage.allocated == 0)
        #expect(buffer.counters.refused == 3)
        #expect(coherent.statistics.hit + coherent.statistics.miss == 0)

        for policy in ["bind:1", "prefer:1", "interleave:0-1", "bind:0-1"] {
            let named = try machine.makeBuffer(policy)
            #expect(try machine.store([1], to: named, at: 0) == 1)
            #expect(machine.pages(of: named) == [1: 1], "\(policy)")
        }
        try machine.setIsolation(.none, of: coherent)
        #expect(try machine.store([1], to: buffer, at: 0) == 1)
        #expect(machine.pages(of: buffer) == [1: 1])
        #expect(coherent.statistics.miss > 0)
    }

    @Test("A full device falls back to RAM, unless the policy is bind")
    func exhausted() throws {
        let machine = try Machine(ram: 2, coherent: [2, 2])
        try fill(machine, node: 1)
        let preferring = try machine.makeBuffer("prefer:1")
        try machine.store([1], to: preferring, at: 0)
        #expect(machine.pages(of: preferring) == [0: 1], "not the other device")
        #expect(machine.node(1)!.statistics.foreign == 1 && machine.node(0)!.statistics.miss == 1)
        let bound = try machine.makeBuffer("bind:1")
        #expect(failure { () throws(Errno) in try machine.store([1], to: bound, at: 0) } == .noSpace)
        #expect(machine.node(2)!.usage.allocated == 0)
    }

    @Test("Interleaving goes by page offset, wherever the first touch is")
    func interleave() throws {
        let machine = try Machine(ram: 2, coherent: [2, 2])
        let buffer = try machine.makeBuffer("interleave:0-2", size: 1 << 40)
        for page in [UInt64(7), 0, 100, 5] { _ = try machine.bytes(of: buffer, at: page << 12, count: 4096) }
        #expect(machine.runs(of: buffer).map(\.node) == [0, 2, 1, 1])
        #expect(machine.nodes.map(\.statistics.interleaveHit) == [1, 2, 1])
    }

    @Test("A migration counts as allocation on the target, a read-ahead that came to nothing not at all")
    func counters() throws {
        let machine = try Machine(ram: 4, coherent: [2])
        let buffer = try machine.makeBuffer("default")
        try machine.store([UInt8](repeating: 1, count: 64 << 12), to: buffer, at: 0)
        try machine.migrate(buffer, to: 1)
        try machine.migrate(buffer, to: 0)
        #expect(machine.nodes.map(\.statistics.hit) == [128, 64])
        #expect(machine.nodes.map { $0.statistics.local + $0.statistics.other } == [128, 64])
        try fill(machine, node: 1)
        let before = machine.node(1)!.statistics
        machine.punch(machine.buffers.last!, bytes: 0..<3 * 4096)
        let bound = try machine.makeBuffer("bind:1", size: 8 << 12)
        #expect(failure { () throws(Errno) in try machine.bytes(of: bound, at: 0, count: 8 << 12) } == .noMemory)
        #expect(machine.node(1)!.statistics == before && bound.residentPages == 0)
        #expect(machine.node(1)!.usage.free == 3)
    }
}
