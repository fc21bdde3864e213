import MachineTopology
import Testing

@testable import CoherentMemory

/// Seeded random operations with huge pages; see `HugeWalk`.
@Suite("Random walks with huge pages")
struct HugeWalkTests {
    private func walk(_ topology: Topology, seed: UInt64, steps: Int = 120) throws {
        var walk = try HugeWalk(seed: seed, topology: topology)
        for _ in 0..<steps { try walk.step() }
        try walk.finish()
    }

    @Test("RAM and one coherent node", arguments: 1...3)
    func two(seed: UInt64) throws { try walk(.small(ram: 16, coherent: [8]), seed: seed) }

    @Test("RAM and two coherent nodes, not isolated", arguments: 11...13)
    func three(seed: UInt64) throws { try walk(.small(ram: 12, coherent: [8, 6], isolation: .none), seed: seed) }
}
