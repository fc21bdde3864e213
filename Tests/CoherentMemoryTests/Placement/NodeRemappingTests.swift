import MachineTopology
import Testing

@testable import CoherentMemory

/// The worked examples in the comments of lib/bitmap.c and of do_migrate_pages() in mm/mempolicy.c.
@Suite("Node remapping")
struct NodeRemappingTests {
    private func set(_ list: String) throws -> IDSet { list.isEmpty ? IDSet() : try IDSet(list: list[...]) }

    @Test(
        "bitmap_remap(): the n-th of the old becomes the n-th of the new, counted round; others stay",
        arguments: [
            ("1,5,7", "4-7", "12-15", "1,13,15"), ("1-3", "1-3", "3-5", "3-5"), ("0-3", "0-3", "5", "5"),
            ("0-3", "0-3", "8-9", "8-9"), ("1,3,5", "1-5", "7-9", "7-9"), ("7-9", "7-9", "1-5", "1-3"),
            ("2", "", "4-5", "2"), ("2", "2", "", "2"), ("", "0-3", "4-7", ""), ("1023", "1023", "0", "0"),
        ])
    func remap(nodes: String, old: String, new: String, result: String) throws {
        #expect(try set(nodes).remapped(from: set(old), to: set(new)) == set(result))
    }

    @Test(
        "bitmap_fold() and bitmap_onto() with 40-43,45,48,53,61,74,95",
        arguments: [
            ("0", "40"), ("1", "41"), ("9", "95"), ("10", "40"), ("1,3,5,7", "41,43,48,61"), ("0-4", "40-43,45"),
            ("0,9,18,27", "40,61,74,95"), ("0,10,20,30", "40"), ("0,11,22,33", "40-43"), ("0,12,24,36", "40,42,45,53"),
            ("78,102,211", "41-42,74"), ("", ""),
        ])
    func onto(nodes: String, result: String) throws {
        #expect(try set(nodes).relative(to: set("40-43,45,48,53,61,74,95")) == set(result))
    }

    @Test("numa_memory_policy.rst: relative interleaving over 2-5, then 3-7, then 0,2-3,5")
    func relative() throws {
        for (allowed, result) in [("2-5", "2-5"), ("3-7", "3,5-7"), ("0,2-3,5", "0,2-3,5")] {
            #expect(try set("2-5").relative(to: set(allowed)) == set(result), "\(allowed)")
        }
        #expect(try set("0-3").relative(to: IDSet()) == IDSet())
    }

    @Test(
        "do_migrate_pages(): the moves and their order",
        arguments: [
            // Everything moves; what would be moved twice waits.
            ("2-4", "3-5", [(4, 5), (3, 4), (2, 3)]),
            ("3-5", "2-4", [(3, 2), (4, 3), (5, 4)]),
            // Unequal numbers: what is already on a target stays.
            ("0-7", "3-5", [(7, 4), (6, 3), (2, 5), (1, 4), (0, 3)]),
            ("0,2", "1", [(0, 1), (2, 1)]), ("0-1", "1", [(0, 1)]), ("1", "0-1", []), ("0-3", "0-3", []),
            ("0", "1", [(0, 1)]), ("0-1", "2-3", [(0, 2), (1, 3)]), ("", "1", []), ("1", "", []),
        ] as [(String, String, [(Int, Int)])])
    func steps(old: String, new: String, expected: [(Int, Int)]) throws {
        let steps = try set(old).migrationSteps(to: set(new))
        #expect(steps.map { [$0.source, $0.target] } == expected.map { [$0.0, $0.1] })
    }
}
