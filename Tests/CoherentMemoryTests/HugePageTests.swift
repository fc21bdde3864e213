import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// Worked examples of reserved and other huge pages; the random walks cover the rest.
@Suite("Huge pages")
struct HugePageTests {
    private func pool(_ machine: Machine, _ node: Int) -> [Int] {
        let pool = machine.node(node)!.usage.hugePool
        return [pool.total, pool.free, pool.surplus]
    }

    private func fill(_ machine: Machine, _ buffer: Buffer, huge pages: Range<UInt64>) throws(Errno) {
        for page in pages { try machine.store([UInt8(page + 1)], to: buffer, at: page * HugePage.size) }
    }

    @Test("nr_hugepages is clipped to what fits, and lowering it frees what no buffer has")
    func clipping() throws {
        let machine = try Machine(ram: 8, coherent: [8])
        let node = machine.node(1)!
        machine.setHugePages(.max, of: node)
        #expect(pool(machine, 1) == [4, 4, 0])
        #expect(node.usage.free == 0 && node.usage.allocated == 0 && node.usage.present == 2048)
        machine.setHugePages(3, of: node)
        #expect(pool(machine, 1) == [3, 3, 0] && node.usage.free == 512)
        let buffer = try machine.makeBuffer("bind:1", size: 3 * HugePage.size)
        try machine.setHugeMode(.pool, of: buffer)
        try fill(machine, buffer, huge: 0..<2)
        #expect(pool(machine, 1) == [3, 1, 0])
        #expect(machine.pages(of: buffer) == [1: 1024])
        // As in Linux, those in use beyond the number asked for are surplus and go when they are given up.
        machine.setHugePages(1, of: node)
        #expect(pool(machine, 1) == [2, 0, 1])
        try machine.checkInvariants()
        machine.punch(buffer, bytes: 0..<HugePage.size)
        #expect(pool(machine, 1) == [1, 0, 0])
        machine.punch(buffer, bytes: HugePage.size..<2 * HugePage.size)
        #expect(pool(machine, 1) == [1, 1, 0])
        machine.setHugePages(0, of: node)
        #expect(pool(machine, 1) == [0, 0, 0] && node.usage.free == 2048)
        try machine.checkInvariants()
    }

    @Test("A buffer of reserved pages has no others, whole ones only, and zeros at first")
    func pooledBuffer() throws {
        let machine = try Machine(ram: 8, coherent: [4])
        machine.setHugePages(2, of: machine.node(0)!)
        let buffer = try machine.makeBuffer("default", size: 3 * HugePage.size)
        #expect(failure { () throws(Errno) in try machine.setHugeMode(.pool, of: buffer) } == nil)
        try fill(machine, buffer, huge: 0..<2)
        #expect(failure { () throws(Errno) in try fill(machine, buffer, huge: 2..<3) } == .noSpace)
        #expect(
            failure { () throws(Errno) in try machine.bytes(of: buffer, at: 2 * HugePage.size, count: 1) } == .noMemory)
        #expect(machine.runs(of: buffer).allSatisfy { $0.isHuge && $0.length <= 2 * HugePage.size })
        #expect(failure { () throws(Errno) in try machine.setHugeMode(.never, of: buffer) } == .resourceBusy)
        #expect(failure { () throws(Errno) in try machine.resize(buffer, to: 4096) } == .invalidArgument)
        // Part of a page is zeroed, and the page stays.
        machine.punch(buffer, bytes: 0..<4096)
        #expect(machine.pages(of: buffer) == [0: 1024])
        #expect(try machine.bytes(of: buffer, at: 0, count: 1) == [0])
        machine.punch(buffer, bytes: 100..<2 * HugePage.size)
        #expect(machine.pages(of: buffer) == [0: 512])
        try machine.checkInvariants()
        try fill(machine, buffer, huge: 2..<3)
        #expect(try machine.bytes(of: buffer, at: 2 * HugePage.size, count: 4097).dropFirst().allSatisfy { $0 == 0 })
        machine.remove(buffer)
        #expect(pool(machine, 0) == [2, 2, 0])
        try machine.checkInvariants()
    }

    @Test("A pool on an isolated node is for those who name it, and turning others away is counted")
    func isolation() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        machine.setHugePages(1, of: machine.node(1)!)
        let buffer = try machine.makeBuffer("default", size: HugePage.size)
        try machine.setHugeMode(.pool, of: buffer)
        #expect(failure { () throws(Errno) in try fill(machine, buffer, huge: 0..<1) } == .noSpace)
        #expect(machine.node(1)!.statistics.refusedHugePages == 1)
        try machine.setPolicy(MemoryPolicy(parsing: "prefer:1", available: machine.nodesWithMemory), of: buffer)
        try fill(machine, buffer, huge: 0..<1)
        #expect(machine.pages(of: buffer) == [1: 512])
    }

    @Test("always: a touch takes an aligned run, a hole splits it, and base pages serve where no run is left")
    func transparent() throws {
        let machine = try Machine(ram: 8, coherent: [4])
        let buffer = machine.makeBuffer(huge: .always)
        try machine.resize(buffer, to: 8 * HugePage.size)
        _ = try machine.bytes(of: buffer, at: 5000, count: 1)
        #expect(machine.pages(of: buffer) == [0: 512] && machine.node(0)!.usage.huge == 1)
        machine.punch(buffer, bytes: 4096..<8192)
        #expect(machine.pages(of: buffer) == [0: 511] && machine.node(0)!.usage.huge == 0)
        #expect(machine.runs(of: buffer).allSatisfy { !$0.isHuge })
        try fill(machine, buffer, huge: 1..<4)
        #expect(machine.node(0)!.usage.huge == 3)
        try fill(machine, buffer, huge: 4..<5)
        #expect(machine.pages(of: buffer) == [0: 511 + 3 * 512 + 1] && machine.node(0)!.usage.huge == 3)
        try machine.checkInvariants()
        // within_size takes none beyond the end.
        let other = machine.makeBuffer(huge: .withinSize)
        try machine.setPolicy(.bind(1), of: other)
        try machine.resize(other, to: HugePage.size + 4096)
        try fill(machine, other, huge: 0..<2)
        #expect(machine.pages(of: other) == [1: 513])
        try machine.resize(other, to: 8192)
        #expect(machine.pages(of: other) == [1: 2] && machine.node(1)!.usage.huge == 0)
        try machine.checkInvariants()
    }

    @Test("Huge pages move whole where the target has one, and are split where it has not")
    func migration() throws {
        let machine = try Machine(ram: 8, coherent: [4])
        let buffer = machine.makeBuffer(huge: .always)
        try machine.resize(buffer, to: 2 * HugePage.size)
        try fill(machine, buffer, huge: 0..<2)
        try machine.migrate(buffer, to: 1)
        #expect(machine.node(1)!.usage.huge == 2 && machine.pages(of: buffer) == [1: 1024])
        try machine.migrate(buffer, bytes: 4096..<8192, to: 0)
        #expect(machine.node(1)!.usage.huge == 1 && machine.pages(of: buffer) == [0: 1, 1: 1023])
        // Node 0 keeps no run of 512 frames, but enough frames.
        let wall = machine.makeBuffer()
        try machine.allocate(wall, bytes: 0..<8 * mebibyte - 4096, keepsSize: false, origin: onNode0)
        for page in stride(from: UInt64(0), to: 2047, by: 2) where page != 510 {
            machine.punch(wall, bytes: page * 4096..<page * 4096 + 4096)
        }
        try machine.migrate(buffer, bytes: HugePage.size..<2 * HugePage.size, to: 0)
        #expect(machine.node(1)!.usage.huge == 0 && machine.pages(of: buffer) == [0: 513, 1: 511])
        #expect(try machine.bytes(of: buffer, at: HugePage.size, count: 1) == [2])
        try machine.checkInvariants()
    }

    @Test("Reserved pages move to the target's pool, else to a fresh page that it gains")
    func pooledMigration() throws {
        let machine = try Machine(ram: 8, coherent: [6])
        machine.setHugePages(2, of: machine.node(0)!)
        machine.setHugePages(1, of: machine.node(1)!)
        let buffer = machine.makeBuffer(huge: .pool)
        try machine.resize(buffer, to: 2 * HugePage.size)
        try fill(machine, buffer, huge: 0..<2)
        try machine.migrate(buffer, bytes: 4096..<8192, to: 1)
        #expect(machine.pages(of: buffer) == [0: 512, 1: 512])
        #expect(pool(machine, 0) == [2, 1, 0] && pool(machine, 1) == [1, 0, 0])
        try machine.migrate(buffer, to: 1)
        #expect(pool(machine, 0) == [1, 1, 0] && pool(machine, 1) == [2, 0, 0])
        #expect(try machine.bytes(of: buffer, at: HugePage.size, count: 1) == [2])
        try machine.checkInvariants()
    }

    @Test("Offlining dissolves free reserved pages and moves those in use")
    func offlining() throws {
        let machine = try Machine(ram: 8, coherent: [4])
        let node = machine.node(1)!
        machine.setHugePages(2, of: node)
        let buffer = try machine.makeBuffer("bind:1", size: 2 * HugePage.size)
        try machine.setHugeMode(.pool, of: buffer)
        try fill(machine, buffer, huge: 0..<1)
        try machine.offline(machine.devices[0])
        #expect(pool(machine, 1) == [0, 0, 0] && pool(machine, 0) == [1, 0, 0])
        #expect(machine.pages(of: buffer) == [0: 512])
        #expect(try machine.bytes(of: buffer, at: 0, count: 1) == [1])
        try machine.checkInvariants()
    }

    @Test("Compaction moves scattered pages together, so that more huge pages are to be had")
    func compaction() throws {
        let machine = try Machine(ram: 16, coherent: [2])
        let node = machine.node(0)!
        let buffer = try machine.makeBuffer("default", size: 16 * mebibyte)
        try machine.allocate(buffer, bytes: 0..<16 * mebibyte, keepsSize: false, origin: onNode0)
        for page in stride(from: UInt64(0), to: 4096, by: 4) {
            try machine.store([UInt8(page / 4 % 251)], to: buffer, at: page * 4096)
            machine.punch(buffer, bytes: (page + 1) * 4096..<(page + 4) * 4096)
        }
        #expect(machine.pages(of: buffer) == [0: 1024])
        machine.setHugePages(8, of: node)
        #expect(pool(machine, 0) == [0, 0, 0])
        #expect(try machine.compact(node) == 768)
        machine.setHugePages(8, of: node)
        #expect(pool(machine, 0) == [6, 6, 0])
        for page in stride(from: UInt64(0), to: 4096, by: 4) {
            #expect(try machine.bytes(of: buffer, at: page * 4096, count: 1) == [UInt8(page / 4 % 251)])
        }
        try machine.checkInvariants()
    }

    @Test("Reclaim frees what holds zeros, and demotes the rest where it may")
    func reclaim() throws {
        let machine = try Machine(ram: 8, coherent: [4], isolation: .none)
        let node = machine.node(0)!
        let buffer = try machine.makeBuffer("default", size: 64 << 12)
        for page in 0..<UInt64(64) {
            // A third each: data, zeros that were stored, never stored to.
            if page % 3 == 0 { try machine.store([7], to: buffer, at: page << 12) }
            if page % 3 == 1 { try machine.store([0], to: buffer, at: page << 12) }
            if page % 3 == 2 { _ = try machine.bytes(of: buffer, at: page << 12, count: 1) }
        }
        #expect(try machine.reclaim(10, of: node, demotingTo: []) == 10)
        #expect(machine.pages(of: buffer) == [0: 54])
        #expect(try machine.reclaim(100, of: node, demotingTo: []) == 32)
        #expect(machine.pages(of: buffer) == [0: 22])
        #expect(try machine.reclaim(5, of: node, demotingTo: [machine.node(1)!]) == 5)
        #expect(machine.pages(of: buffer) == [0: 17, 1: 5] && node.pressure.demotedProactively == 5)
        for page in 0..<UInt64(64) {
            #expect(try machine.bytes(of: buffer, at: page << 12, count: 1) == [page % 3 == 0 ? 7 : 0])
        }
        try machine.checkInvariants()
    }

    @Test("What a mapping stored and the kernel has not written back is no zero")
    func reclaimOfDirty() throws {
        let machine = try Machine(ram: 8, coherent: [4])
        let buffer = try machine.makeBuffer("default", size: 8 << 12)
        let cache = PageCache(machine, mapping: [buffer])
        for page in 0..<8 {
            _ = cache.touch(buffer, page: page) { bytes in
                bytes[9] = page < 4 ? 3 : 0
                return ((), stored: page < 6)
            }
        }
        #expect(try machine.reclaim(8, of: machine.node(0)!, demotingTo: []) == 4)
        for page in 0..<8 {
            #expect(cache.touch(buffer, page: page) { ($0[9], stored: false) } == (page < 4 ? 3 : 0))
        }
        withExtendedLifetime(cache) {}
    }
}
