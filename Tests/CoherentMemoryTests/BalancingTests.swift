import MachineTopology
import Testing

@testable import CoherentMemory

/// Automatic NUMA balancing, step by step.
@Suite("NUMA balancing")
struct BalancingTests {
    private let machine: Machine
    private let buffer: Buffer
    private let cache: PageCache

    init() throws {
        machine = try Machine(
            topology: Topology(
                blockSize: 2 * mebibyte,
                nodes: [
                    .ram(id: 0, memory: 8 * mebibyte, cpus: [0]), .ram(id: 1, memory: 8 * mebibyte, cpus: [1]),
                    .coherent(id: 2, memory: 8 * mebibyte, isolation: .none),
                ]))
        buffer = try machine.makeBuffer("default", size: 8 << 12)
        cache = PageCache(machine, mapping: [buffer])
        touch(from: 0)
    }

    private func touch(from node: Int) {
        for page in 0..<8 {
            let origin = Origin(pid: 1, node: node)
            _ = cache.touch(buffer, page: page, origin: origin) { bytes in (bytes[0] = UInt8(page), stored: true) }
        }
    }

    private func mark() {
        var position = Balancer.ScanPosition()
        machine.balancer.mark(1000, machine.balancing.mode, from: &position, isCancelled: { false })
    }

    private func round(from node: Int) {
        mark()
        touch(from: node)
        machine.balancer.moveMisplaced(isCancelled: { false })
    }

    @Test("The second touch in a row from another node brings the page there")
    func second() throws {
        machine.balancing.mode = .normal
        round(from: 1)
        #expect(machine.pages(of: buffer) == [0: 8])
        round(from: 0)
        round(from: 1)
        #expect(machine.pages(of: buffer) == [0: 8])
        round(from: 1)
        #expect(machine.pages(of: buffer) == [1: 8])
        let (zero, one) = (machine.node(0)!.pressure, machine.node(1)!.pressure)
        #expect(zero.marked == 32 && zero.hintingFaults == 32 && zero.localHintingFaults == 8 && one.balanced == 8)
        #expect(one.promoted == 0)
        for page in 0..<8 { #expect(cache.touch(buffer, page: page) { ($0[0], false) } == UInt8(page)) }
        try machine.checkInvariants()
    }

    @Test("Hot pages of a slower tier are promoted at the second touch, to the nearest RAM")
    func promotion() throws {
        try machine.migrate(buffer, to: 2)
        touch(from: 1)
        machine.balancing.mode = .tiering
        round(from: 1)
        #expect(machine.pages(of: buffer) == [2: 8])
        round(from: 1)
        #expect(machine.pages(of: buffer) == [1: 8])
        #expect(machine.node(1)!.pressure.promoted == 8 && machine.node(1)!.pressure.promotionCandidates == 8)
        // Pages in fast memory are none of its business.
        round(from: 0)
        #expect(machine.node(1)!.pressure.marked == 0)
        try machine.checkInvariants()
    }

    @Test("What nobody came for meanwhile is not hot")
    func coldPages() throws {
        try machine.migrate(buffer, to: 2)
        touch(from: 0)
        machine.balancing.mode = .tiering
        round(from: 0)
        mark()
        mark()
        touch(from: 0)
        machine.balancer.moveMisplaced(isCancelled: { false })
        #expect(machine.pages(of: buffer) == [2: 8] && machine.node(0)!.pressure.promotionCandidates == 0)
    }

    @Test("Not from nor to an isolated node, nor under a policy, nor where there is no room")
    func exceptions() throws {
        machine.balancing.mode = [.normal, .tiering]
        try machine.migrate(buffer, to: 2)
        touch(from: 0)
        try machine.setIsolation(.exclusive, of: machine.node(2)!)
        for _ in 0..<3 { round(from: 0) }
        #expect(machine.pages(of: buffer) == [2: 8] && machine.node(2)!.pressure.marked == 0)
        // Marked before, isolated after.
        try machine.setIsolation(.none, of: machine.node(2)!)
        round(from: 0)
        mark()
        try machine.setIsolation(.restricted, of: machine.node(2)!)
        touch(from: 0)
        machine.balancer.moveMisplaced(isCancelled: { false })
        #expect(machine.pages(of: buffer) == [2: 8])
        try machine.setIsolation(.none, of: machine.node(2)!)
        try machine.setPolicy(MemoryPolicy(parsing: "prefer:2", available: machine.nodesWithMemory), of: buffer)
        for _ in 0..<3 { round(from: 0) }
        #expect(machine.pages(of: buffer) == [2: 8])
        try machine.setPolicy(.default, of: buffer)
        let filler = try machine.makeBuffer("bind:0")
        let free = UInt64(machine.node(0)!.usage.free - 4)
        try machine.allocate(filler, bytes: 0..<free << 12, keepsSize: false, origin: onNode0)
        for _ in 0..<3 { round(from: 0) }
        #expect(machine.pages(of: buffer) == [2: 8] && machine.node(0)!.pressure.promotionCandidates > 0)
        machine.remove(filler)
        for _ in 0..<3 { round(from: 0) }
        #expect(machine.pages(of: buffer) == [0: 8])
        try machine.checkInvariants()
    }

    @Test("Off, nothing is marked and a fault costs nothing")
    func off() throws {
        mark()
        touch(from: 1)
        #expect(machine.nodes.allSatisfy { $0.pressure.hintingFaults == 0 })
    }
}
