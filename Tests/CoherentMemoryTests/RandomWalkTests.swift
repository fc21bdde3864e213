import MachineTopology
import Testing

@testable import CoherentMemory

/// Seeded random operations on the machine and on a slow, obvious model of it (Model/): after every step both agree on
/// results, sizes, placement, free memory and counters; on all contents, and the machine with itself, every 64 steps.
@Suite("Random walks")
struct RandomWalkTests {
    private func walk(_ topology: Topology, seed: UInt64, steps: Int, isScattered: Bool = false) throws {
        var walk = try Walk(seed: seed, topology: topology)
        if isScattered { try walk.scatter() }
        for _ in 0..<steps { try walk.step() }
        try walk.compareContents()
        // What is given back is all there again.
        for buffer in walk.buffers where buffer.fixedSize == nil { walk.machine.remove(buffer) }
        for device in walk.machine.devices { walk.machine.punch(device.memory, bytes: 0..<device.memory.size) }
        try walk.machine.checkInvariants()
        for node in walk.machine.nodes {
            #expect(node.usage.allocated == 0 && node.usage.written == 0)
            #expect(node.usage.free == walk.model.present(node.id) - walk.model.retired(node.id))
        }
        #expect(walk.machine.memory.tables.inUse == 0)
    }

    @Test("RAM and one coherent node", arguments: 1...6)
    func two(seed: UInt64) throws {
        try walk(.small(ram: 8, coherent: [4]), seed: seed, steps: 600)
    }

    @Test("RAM and three coherent nodes, not isolated", arguments: 11...14)
    func four(seed: UInt64) throws {
        try walk(.small(ram: 6, coherent: [4, 2, 6], isolation: .none), seed: seed, steps: 600)
    }

    @Test("Two nodes of RAM with coherent nodes of unequal distance", arguments: 21...24)
    func distances(seed: UInt64) throws {
        let topology = try Topology(
            blockSize: 2 * mebibyte,
            nodes: [
                .ram(id: 0, memory: 4 * mebibyte, cpus: IDSet(0..<IDSet.maxCPUs)), .ram(id: 1, memory: 4 * mebibyte),
                .coherent(id: 2, memory: 4 * mebibyte, isolation: .none, isOnline: false),
                .coherent(id: 3, memory: 4 * mebibyte),
            ],
            distances: [
                .init(from: 0, to: 2, value: 15), .init(from: 0, to: 3, value: 60), .init(from: 2, to: 0, value: 80),
                .init(from: 2, to: 1, value: 30), .init(from: 3, to: 2, value: 11),
            ])
        try walk(topology, seed: seed, steps: 600)
    }

    @Test("No free frame beside another: every run is of one frame, on RAM and on coherent nodes", arguments: 41...44)
    func scattered(seed: UInt64) throws {
        try walk(.small(ram: 8, coherent: [4, 2]), seed: seed, steps: 500, isScattered: true)
    }

    @Test("A large machine, always nearly empty", arguments: [31])
    func large(seed: UInt64) throws {
        try walk(.small(ram: 64, coherent: [32, 16]), seed: seed, steps: 1500)
    }
}
