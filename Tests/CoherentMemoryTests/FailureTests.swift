import SystemPackage
import Testing

@testable import CoherentMemory

/// Pages whose memory fails: poison, soft offlining, and what clears it.
@Suite("Memory failures")
struct FailureTests {
    private let page = [UInt8](repeating: 0x5a, count: 4096)

    private func address(of page: UInt64, in buffer: Buffer, _ machine: Machine) -> UInt64 {
        let run = machine.runs(of: buffer).first { ($0.offset..<$0.offset + $0.length).contains(page * 4096) }!
        return run.physicalAddress + page * 4096 - run.offset
    }

    @Test("A poisoned page fails alone, its frame is retired, and a hole makes the page good")
    func poison() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let buffer = try machine.makeBuffer("bind:1", size: 8 * 4096)
        try machine.store([UInt8](repeating: 0x5a, count: 8 * 4096), to: buffer, at: 0)
        let bad = address(of: 3, in: buffer, machine)
        let free = machine.nodes[1].usage.free

        try machine.poison(address: bad + 100)
        #expect(failure { () throws(Errno) in try machine.poison(address: bad) } == .hardwarePoisoned)
        #expect(failure { () throws(Errno) in try machine.bytes(of: buffer, at: 3 * 4096, count: 1) } == .ioError)
        #expect(failure { () throws(Errno) in try machine.bytes(of: buffer, at: 0, count: 8 * 4096) } == .ioError)
        for other in [0, 1, 2, 4, 5, 6, 7] {
            #expect(try machine.bytes(of: buffer, at: UInt64(other) * 4096, count: 4096) == page)
        }
        #expect(failure { () throws(Errno) in try machine.store(page, to: buffer, at: 3 * 4096) } == .ioError)
        // What is good is stored, and what comes back from the page cache is let go.
        #expect(try machine.store([UInt8](repeating: 1, count: 3 * 4096), to: buffer, at: 2 * 4096) == 4096)
        #expect(
            try machine.store([UInt8](repeating: 2, count: 3 * 4096), to: buffer, at: 2 * 4096, isGrowing: false)
                == 3 * 4096)
        #expect(try machine.bytes(of: buffer, at: 4 * 4096, count: 1) == [2])
        #expect(machine.nodes[1].memoryFailures.total == 1 && machine.nodes[1].memoryFailures.recovered == 1)
        #expect(machine.nodes[1].usage.poisoned == 1)
        #expect(machine.nodes[1].usage.free == free)
        #expect(machine.runs(of: buffer).filter(\.isPoisoned).map(\.offset) == [3 * 4096])
        try machine.checkInvariants()

        machine.punch(buffer, bytes: 3 * 4096..<4 * 4096)
        #expect(try machine.bytes(of: buffer, at: 3 * 4096, count: 4096) == [UInt8](repeating: 0, count: 4096))
        #expect(address(of: 3, in: buffer, machine) != bad)
        #expect(machine.nodes[1].usage.free == free - 1)
        machine.remove(buffer)
        #expect(machine.nodes[1].usage.free == machine.nodes[1].usage.present - 1)
        #expect(machine.failedRanges(of: machine.nodes[1]).map(\.physicalAddress) == [bad])
        #expect(try machine.clearFailure(address: bad))
        #expect(machine.nodes[1].usage.free == machine.nodes[1].usage.present)
        try machine.checkInvariants()
    }

    @Test("Clearing a page that is still marked makes it a page of zeros")
    func clear() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let buffer = try machine.makeBuffer("bind:1", size: 4 * 4096)
        try machine.poison(buffer, bytes: 4096..<3 * 4096, origin: onNode0)
        let bad = machine.failedRanges(of: machine.nodes[1])
        #expect(bad.map(\.length) == [2 * 4096])
        try machine.clearFailure(address: bad[0].physicalAddress)
        #expect(try machine.bytes(of: buffer, at: 4096, count: 1) == [0])
        #expect(failure { () throws(Errno) in try machine.bytes(of: buffer, at: 2 * 4096, count: 1) } == .ioError)
        try machine.checkInvariants()
    }

    @Test("Free frames, and those of offline blocks, fail, too")
    func free() throws {
        let machine = try Machine(ram: 4, coherent: [4], contiguous: 2)
        let node = machine.nodes[1]
        let start: UInt64 = 4 << 20
        try machine.poison(address: start)
        try machine.poison(address: start + 3 << 20)
        #expect(node.usage.free == node.usage.present - 2)
        try machine.checkInvariants()
        // A contiguous run goes around it.
        let buffer = machine.makeBuffer()
        try machine.resize(buffer, to: 300 * 4096)
        #expect(failure { () throws(Errno) in try machine.makeContiguous(buffer, on: 1) } == .noMemory)

        let block = machine.block(2)!
        try machine.offline(block)
        #expect(failure { () throws(Errno) in try machine.online(block) } == .hardwarePoisoned)
        try machine.checkInvariants()
        try machine.poison(address: start + 4096)
        try machine.clearFailure(address: start)
        #expect(failure { () throws(Errno) in try machine.online(block) } == .hardwarePoisoned)
        try machine.clearFailure(address: start + 4096)
        try machine.online(block)
        let share = machine.block(3)!
        try machine.offline(share)
        #expect(failure { () throws(Errno) in try machine.poison(address: 1 << 40) } == .noSuchAddressOrDevice)
        try machine.checkInvariants()
    }

    @Test("A block whose pages failed goes offline without them")
    func offline() throws {
        let machine = try Machine(ram: 4, coherent: [2])
        let buffer = try machine.makeBuffer("bind:1", size: 4 * 4096)
        try machine.store([UInt8](repeating: 7, count: 4 * 4096), to: buffer, at: 0)
        try machine.poison(address: address(of: 1, in: buffer, machine))
        try machine.offline(machine.devices[0])
        #expect(machine.pages(of: buffer) == [0: 3])
        #expect(failure { () throws(Errno) in try machine.bytes(of: buffer, at: 4096, count: 1) } == .ioError)
        try machine.checkInvariants()
    }

    @Test("A migration leaves what failed behind and says so")
    func migrate() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let buffer = try machine.makeBuffer("bind:1", size: 8 * 4096)
        try machine.store([UInt8](repeating: 7, count: 8 * 4096), to: buffer, at: 0)
        try machine.poison(address: address(of: 5, in: buffer, machine))
        try machine.migrate(buffer, to: 0)
        #expect(buffer.migration.moved == 7 && buffer.migration.failed == 1 && buffer.migration.state == .partial)
        try machine.checkInvariants()
    }

    @Test("Soft offlining moves the page; pinned ones are EBUSY and stay in use")
    func softOffline() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let buffer = try machine.makeBuffer("bind:1", size: 4 * 4096)
        try machine.store([UInt8](repeating: 7, count: 4 * 4096), to: buffer, at: 0)
        let old = address(of: 2, in: buffer, machine)
        try machine.setPinned(true, of: buffer)
        #expect(failure { () throws(Errno) in try machine.softOffline(address: old) } == .resourceBusy)
        #expect(machine.failedRanges(of: machine.nodes[1]).isEmpty)
        try machine.setPinned(false, of: buffer)
        try machine.softOffline(address: old)
        try machine.softOffline(address: old)
        #expect(try machine.bytes(of: buffer, at: 0, count: 4 * 4096) == [UInt8](repeating: 7, count: 4 * 4096))
        #expect(machine.pages(of: buffer) == [1: 4] && address(of: 2, in: buffer, machine) != old)
        #expect(machine.failedRanges(of: machine.nodes[1]).map(\.reason) == [.offlined])
        #expect(machine.nodes[1].usage.poisoned == 0 && machine.nodes[1].memoryFailures.total == 0)
        try machine.checkInvariants()
    }

    @Test("A huge page is split, a reserved one fails as a whole and leaves its pool")
    func huge() throws {
        let machine = try Machine(ram: 8, coherent: [8])
        let node = machine.nodes[1]
        let buffer = try machine.makeBuffer("bind:1", size: 2 * HugePage.size)
        try machine.setHugeMode(.always, of: buffer)
        try machine.store(page, to: buffer, at: 0)
        #expect(node.usage.huge == 1)
        try machine.poison(address: address(of: 9, in: buffer, machine))
        #expect(node.usage.huge == 0 && machine.pages(of: buffer) == [1: 511])
        try machine.checkInvariants()

        machine.setHugePages(2, of: node)
        let pooled = try machine.makeBuffer("bind:1", size: HugePage.size)
        try machine.setHugeMode(.pool, of: pooled)
        try machine.store(page, to: pooled, at: 0)
        let bad = address(of: 100, in: pooled, machine)
        try machine.poison(address: bad)
        #expect(failure { () throws(Errno) in try machine.bytes(of: pooled, at: 0, count: 1) } == .ioError)
        #expect(node.usage.hugePool.total == 1 && node.usage.hugePool.free == 1)
        try machine.checkInvariants()
        try machine.clearFailure(address: bad)
        #expect(try machine.bytes(of: pooled, at: 0, count: 1) == [0])
        try machine.softOffline(address: address(of: 0, in: pooled, machine))
        #expect(try machine.bytes(of: pooled, at: 0, count: 1) == [0])
        try machine.checkInvariants()
    }

    @Test("Frame 0 fails like any other, and its page is counted once")
    func frameZero() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let buffer = try machine.makeBuffer("bind:0", size: 4096)
        try machine.store([1], to: buffer, at: 0)
        try #require(address(of: 0, in: buffer, machine) == 0)
        try machine.poison(address: 0)
        try machine.checkInvariants()
        machine.punch(buffer, bytes: 0..<4096)
        try machine.checkInvariants()
        #expect(try machine.bytes(of: buffer, at: 0, count: 1) == [0])
    }

    @Test("A page of a contiguous buffer fails, and gets its own frame back")
    func contiguous() throws {
        let machine = try Machine(ram: 4, coherent: [4], contiguous: 2)
        let buffer = machine.makeBuffer()
        try machine.resize(buffer, to: 16 * 4096)
        try machine.makeContiguous(buffer, on: 1)
        try machine.store([UInt8](repeating: 7, count: 16 * 4096), to: buffer, at: 0)
        let worn = address(of: 5, in: buffer, machine)
        try machine.setPinned(true, of: buffer)
        #expect(failure { () throws(Errno) in try machine.softOffline(address: worn) } == .resourceBusy)
        try machine.setPinned(false, of: buffer)
        // It moves as a whole.
        try machine.softOffline(address: worn)
        let bad = address(of: 5, in: buffer, machine)
        #expect(bad != worn)
        #expect(try machine.bytes(of: buffer, at: 0, count: 16 * 4096) == [UInt8](repeating: 7, count: 16 * 4096))
        try machine.checkInvariants()
        try machine.poison(address: bad)
        machine.punch(buffer, bytes: 5 * 4096..<6 * 4096)
        #expect(failure { () throws(Errno) in try machine.bytes(of: buffer, at: 5 * 4096, count: 1) } == .ioError)
        try machine.checkInvariants()
        try machine.clearFailure(address: bad)
        #expect(try machine.bytes(of: buffer, at: 5 * 4096, count: 1) == [0])
        #expect(address(of: 5, in: buffer, machine) == bad)
        try machine.checkInvariants()
        try machine.poison(address: bad)
        // Moved without the page, the others keep their places, and what is cleared does not come back.
        try machine.softOffline(address: address(of: 7, in: buffer, machine))
        #expect(machine.pages(of: buffer) == [1: 15])
        #expect(address(of: 9, in: buffer, machine) - address(of: 4, in: buffer, machine) == 5 * 4096)
        try machine.checkInvariants()
        try machine.clearFailure(address: bad)
        #expect(failure { () throws(Errno) in try machine.bytes(of: buffer, at: 5 * 4096, count: 1) } == .ioError)
        try machine.checkInvariants()
        try machine.releaseContiguous(buffer)
        #expect(buffer.residentPages == 0)
        try machine.checkInvariants()
    }

    @Test("Page cache, movers and failures at once: what is read is right, or the page has failed", arguments: 1...3)
    func together(seed: UInt64) throws {
        let machine = try Machine(ram: 8, coherent: [4])
        let pages = 256
        let buffer = try machine.makeBuffer("bind:1", size: UInt64(pages) * 4096)
        let cache = PageCache(machine, mapping: [buffer])
        let bodies = (0..<4).map { thread -> @Sendable () -> Void in
            {
                var random = SplitMix64(seed: seed << 8 + UInt64(thread))
                for step in 0..<1500 {
                    let page = Int.random(in: 0..<pages, using: &random)
                    switch (thread, Int.random(in: 0..<8, using: &random)) {
                    case (0, 0...2):
                        let run = machine.runs(of: buffer).randomElement(using: &random)
                        if let run { try? machine.poison(address: run.physicalAddress) }
                    case (0, 3...4):
                        let range = machine.failedRanges(of: machine.nodes.randomElement(using: &random)!).first
                        if let range { _ = try? machine.clearFailure(address: range.physicalAddress) }
                    case (0, 5):
                        cache.truncate(buffer, pages: page..<page + 1)
                        machine.punch(buffer, bytes: UInt64(page) * 4096..<UInt64(page + 1) * 4096)
                    case (0, _):
                        let run = machine.runs(of: buffer).randomElement(using: &random)
                        if let run { try? machine.softOffline(address: run.physicalAddress) }
                    case (1, _): if step % 16 == 0 { try? machine.migrate(buffer, to: step / 16 % 2) }
                    default:
                        let value = UInt8.random(in: 1...255, using: &random)
                        #expect(cache.fill(buffer, page: page, with: value) != false)
                    }
                }
            }
        }
        runThreads(bodies)
        for page in 0..<pages { cache.writeBack(buffer, page: page, drops: true) }
        try machine.checkInvariants()
    }
}
