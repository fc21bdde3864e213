import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// Worked examples of memory of programs in huge pages, and of what the pools promise; `HugeWalk` covers the rest.
@Suite("Huge pages of programs")
struct HugeMappingTests {
    private func pools(_ machine: Machine) -> [Int] {
        let pools = machine.nodes.map(\.usage.hugePool)
        return [
            pools.reduce(0) { $0 + $1.total }, pools.reduce(0) { $0 + $1.free }, machine.reservedHugePages,
            pools.reduce(0) { $0 + $1.surplus },
        ]
    }

    @discardableResult
    private func touch(_ machine: Machine, _ buffer: Buffer, _ unit: UInt64) throws(Errno) -> TouchedPages {
        let start = unit * HugePage.size
        return try machine.touch(
            buffer, at: start + 5 * 4096, around: start..<start + HugePage.size, origin: onNode0)
    }

    private func make(_ machine: Machine, _ pages: Int) throws(Errno) -> Buffer {
        try machine.makeHugeMapping(reserving: pages, origin: onNode0)
    }

    @Test("A promise is of all pools, is kept, and comes back with what is freed")
    func promises() throws {
        let machine = try Machine(ram: 8, coherent: [8], isolation: .none)
        for node in machine.nodes { machine.setHugePages(2, of: node) }
        #expect(failure { () throws(Errno) in _ = try make(machine, 5) } == .noMemory)
        let mapping = try make(machine, 3)
        #expect(pools(machine) == [4, 4, 3, 0])
        let other = try make(machine, 0)
        #expect(try touch(machine, other, 9).bytes == 9 * HugePage.size..<10 * HugePage.size)
        #expect(failure { () throws(Errno) in try touch(machine, other, 1) } == .noMemory)
        #expect(pools(machine) == [4, 3, 3, 0])
        for unit in 0..<UInt64(3) { #expect(try touch(machine, mapping, unit).isFresh) }
        #expect(try !touch(machine, mapping, 0).isFresh)
        #expect(pools(machine) == [4, 0, 0, 0])
        try machine.checkInvariants()
        machine.discard(mapping, bytes: HugePage.size..<3 * HugePage.size)
        #expect(pools(machine) == [4, 2, 2, 0])
        machine.discard(other, bytes: 0..<16 * HugePage.size)
        #expect(pools(machine) == [4, 3, 2, 0])
        machine.unmap(mapping, bytes: 0..<2 * HugePage.size)
        #expect(pools(machine) == [4, 4, 1, 0])
        try machine.checkInvariants()
        machine.remove(mapping)
        machine.remove(other)
        #expect(pools(machine) == [4, 4, 0, 0])
        try machine.checkInvariants()
    }

    @Test("What is promised stays in the pools as surplus, and goes with the promise")
    func surplus() throws {
        let machine = try Machine(ram: 16, coherent: [8], isolation: .none)
        for node in machine.nodes { machine.setHugePages(4, of: node) }
        let mapping = try make(machine, 5)
        for unit in 0..<UInt64(3) { try touch(machine, mapping, unit) }
        machine.setHugePages(0)
        #expect(pools(machine) == [5, 2, 2, 5])
        machine.setHugePages(4)
        #expect(pools(machine) == [5, 2, 2, 1])
        try machine.checkInvariants()
        machine.remove(mapping)
        #expect(pools(machine) == [4, 4, 0, 0])
        try machine.checkInvariants()
    }

    @Test("A task's nodes and a mapping's policy say where pages come from")
    func policies() throws {
        let machine = try Machine(ram: 8, coherent: [8])
        for node in machine.nodes { machine.setHugePages(2, of: node) }
        // The coherent node is for who names it.
        #expect(failure { () throws(Errno) in _ = try make(machine, 3) } == .noMemory)
        let mapping = try make(machine, 2)
        try machine.setPolicy(.bind(1), of: mapping, bytes: 0..<HugePage.size)
        try touch(machine, mapping, 0)
        try touch(machine, mapping, 1)
        #expect(machine.pages(of: mapping) == [0: 512, 1: 512])
        // A part of a huge page moves all of it.
        try machine.migrate(mapping, ranges: [HugePage.size + 4096..<HugePage.size + 8192], to: 1)
        #expect(machine.pages(of: mapping) == [1: 1024])
        #expect(machine.nodes.map(\.usage.hugePool.free) == [2, 0])
        try machine.checkInvariants()
    }

    @Test("A block keeps free pages that are promised, and loses them when they fail")
    func failures() throws {
        let machine = try Machine(ram: 8, coherent: [4], isolation: .none)
        let node = machine.node(1)!
        machine.setHugePages(2, of: node)
        let mapping = try make(machine, 2)
        let blocks = machine.blockNumbers(of: node).compactMap { machine.block($0) }
        #expect(
            blocks.contains { block in failure { () throws(Errno) in try machine.offline(block) } == .resourceBusy })
        #expect(pools(machine) == [2, 2, 2, 0])
        try machine.checkInvariants()
        try touch(machine, mapping, 0)
        let address = machine.runs(of: mapping)[0].physicalAddress
        let free = node.frames
        let other = (0..<2048).first { free.owner(of: $0) == FrameTable.pooled }!
        try machine.poison(address: node.span.pfn(at: other) << Page.shift)
        #expect(pools(machine) == [1, 0, 1, 0])
        #expect(failure { () throws(Errno) in try touch(machine, mapping, 1) } == .noMemory)
        try machine.softOffline(address: address)
        #expect(machine.pages(of: mapping).values.reduce(0, +) == 512)
        try machine.checkInvariants()
        machine.remove(mapping)
        try machine.checkInvariants()
    }
}
