import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

@Suite("Memory blocks")
struct MemoryBlockTests {
    private let machine: Machine

    init() throws { machine = try Machine(ram: 8, coherent: [8]) }

    private func offline(_ number: UInt64, isCancelled: () -> Bool = { false }) -> Errno? {
        failure { () throws(Errno) in try machine.offline(machine.block(number)!, isCancelled: isCancelled) }
    }

    private func online(_ number: UInt64) -> Errno? {
        failure { () throws(Errno) in try machine.online(machine.block(number)!) }
    }

    /// A buffer whose pages say which they are.
    private func makePattern(_ policy: String, pages: Int) throws -> Buffer {
        let buffer = try machine.makeBuffer(policy)
        for page in 0..<UInt64(pages) {
            try machine.store([UInt8](repeating: UInt8(page % 251) + 1, count: 4096), to: buffer, at: page << 12)
        }
        return buffer
    }

    private func expectPattern(_ buffer: Buffer, pages: Int) throws {
        #expect(buffer.residentPages == pages)
        for page in 0..<UInt64(pages) {
            let bytes = try machine.bytes(of: buffer, at: page << 12, count: 4096)
            #expect(bytes == [UInt8](repeating: UInt8(page % 251) + 1, count: 4096), "page \(page)")
        }
        try machine.checkInvariants()
    }

    @Test("Blocks are numbered by physical address, without gaps")
    func numbering() throws {
        #expect(machine.blockNumbers == Array(0..<8))
        #expect(machine.blockNumbers(of: machine.nodes[0]) == Array(0..<4))
        #expect(machine.blockNumbers(of: machine.nodes[1]) == Array(4..<8))
        #expect(machine.block(8) == nil && machine.block(.max) == nil)
        for number in UInt64(0)..<8 {
            let block = machine.block(number)!
            #expect(block.number == number && block.node === machine.nodes[number < 4 ? 0 : 1])
            #expect(block.frames == number * 512..<(number + 1) * 512)
        }
        let buffer = try machine.makeBuffer("bind:1")
        try machine.store([1], to: buffer, at: 0)
        #expect(machine.runs(of: buffer)[0].physicalAddress / machine.topology.blockSize == 4)
    }

    @Test("States, and setting the one that is")
    func states() {
        #expect(online(3) == .invalidArgument)
        #expect(offline(3) == nil)
        #expect(machine.block(3)!.state == .offline)
        #expect(offline(3) == .invalidArgument)
        #expect(machine.nodes[0].usage.present == 3 * 512 && machine.nodes[0].usage.free == 3 * 512)
        #expect(online(3) == nil)
        #expect(machine.nodes[0].usage.free == 4 * 512)
    }

    @Test("Pages move to the same node first, then to RAM, with their bytes; nothing is allocated there meanwhile")
    func draining() throws {
        let buffer = try makePattern("bind:1", pages: 1000)
        for (number, expected) in [(4, [1: 1000]), (5, [1: 1000]), (6, [0: 488, 1: 512]), (7, [0: 1000])] {
            #expect(offline(UInt64(number)) == nil)
            #expect(machine.pages(of: buffer) == expected, "after block \(number)")
            for run in machine.runs(of: buffer) {
                #expect(machine.block(run.physicalAddress / machine.topology.blockSize)!.state == .online)
            }
        }
        #expect(!machine.nodes[1].hasMemory && machine.nodesWithMemory == [0])
        try expectPattern(buffer, pages: 1000)
        #expect(
            failure { () throws(Errno) in try machine.migrate(buffer, to: 1) } == .operationNotSupportedByDevice)
        #expect(failure { () throws(Errno) in try machine.store([1], to: buffer, at: 1 << 30) } == .noSpace)
        for number in UInt64(4)..<8 { #expect(online(number) == nil) }
        try machine.migrate(buffer, to: 1)
        try expectPattern(buffer, pages: 1000)
    }

    @Test("All or nothing: EBUSY without room, and the block is back with all its data")
    func busy() throws {
        let filler = try machine.makeBuffer("bind:0")
        try machine.allocate(filler, bytes: 0..<2000 << 12, keepsSize: false, origin: onNode0)
        let buffer = try makePattern("bind:1", pages: 2048)
        #expect(offline(7) == .resourceBusy)
        #expect(machine.block(7)!.state == .online)
        #expect(machine.nodes[1].usage.present == 2048)
        try expectPattern(buffer, pages: 2048)
        let device = machine.devices[0]
        #expect(failure { () throws(Errno) in try machine.offline(device) } == .resourceBusy)
        #expect(device.state == .offlineFailed)
        try expectPattern(buffer, pages: 2048)
        machine.remove(filler)
        #expect(failure { () throws(Errno) in try machine.offline(device) } == nil)
        #expect(device.state == .offline)
        try expectPattern(buffer, pages: 2048)
        #expect(failure { () throws(Errno) in try machine.online(device) } == nil)
        #expect(device.state == .online && machine.nodes[1].usage.free == 2048)
    }

    @Test("EINTR when cancelled at any moment, and the block is back with all its data")
    func cancellation() throws {
        let buffer = try makePattern("bind:1", pages: 2048)
        for patience in 0..<3 {
            var asked = 0
            let error = offline(7) {
                asked += 1
                return asked > patience
            }
            #expect(error == .interrupted, "after \(patience)")
            #expect(machine.block(7)!.state == .online)
            try expectPattern(buffer, pages: 2048)
        }
    }

    /// Does something at the moment the pages of a block are being unmapped.
    private final class Meddler: MappingInvalidator {
        let body: @Sendable () -> Void
        let count = Atomic<Int>(0)
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
        func invalidate(_ buffer: Buffer, pages: Range<UInt64>) {
            if count.wrappingAdd(1, ordering: .relaxed).oldValue == 0 { body() }
        }
    }

    @Test("Pages freed, stored to and allocated while their block is going offline")
    func meanwhile() throws {
        let machine = machine
        // Else nothing is unmapped.
        machine.devices[0].pace = .real
        let buffer = try makePattern("bind:1", pages: 600)
        let other = try machine.makeBuffer("bind:1")
        let meddler = Meddler { [unowned machine] in
            #expect(machine.block(4)!.state == .goingOffline)
            #expect(failure { () throws(Errno) in try machine.online(machine.block(4)!) } == .resourceBusy)
            #expect(failure { () throws(Errno) in try machine.offline(machine.block(4)!) } == .resourceBusy)
            #expect(machine.runs(of: buffer)[0].isMigrating)
            machine.punch(buffer, bytes: 0..<100 << 12)
            _ = try? machine.store([UInt8](repeating: 0x77, count: 4096), to: buffer, at: 200 << 12)
            // Freed frames of the block are out of reach.
            _ = try? machine.store([UInt8](repeating: 0x66, count: 300 << 12), to: other, at: 0)
            #expect(machine.runs(of: other).allSatisfy { $0.physicalAddress >= 5 * machine.topology.blockSize })
        }
        machine.setInvalidator(meddler)
        #expect(offline(4) == nil)
        #expect(meddler.count.load(ordering: .relaxed) > 0)
        #expect(machine.pages(of: buffer) == [1: 500] && machine.pages(of: other) == [1: 300])
        #expect(try machine.bytes(of: buffer, at: 200 << 12, count: 4096) == [UInt8](repeating: 0x77, count: 4096))
        #expect(try machine.bytes(of: buffer, at: 0, count: 4096) == [UInt8](repeating: 0, count: 4096))
        #expect(try machine.bytes(of: other, at: 299 << 12, count: 1) == [0x66])
        try machine.checkInvariants()
        #expect(online(4) == nil)
        try machine.checkInvariants()
    }

    @Test("A migration leaves the page cache alone, unless a link takes its time")
    func invalidation() throws {
        let buffer = try makePattern("bind:1", pages: 8)
        let meddler = Meddler {}
        machine.setInvalidator(meddler)
        try machine.migrate(buffer, to: 0)
        #expect(machine.nodes.map(\.usage.cached) == [8, 0])
        try machine.migrate(buffer, to: 1)
        #expect(meddler.count.load(ordering: .relaxed) == 0 && machine.nodes.map(\.usage.cached) == [0, 8])
        machine.devices[0].pace = .real
        try machine.migrate(buffer, to: 0)
        #expect(meddler.count.load(ordering: .relaxed) == 1)
        try machine.migrate(buffer, to: 1)
        #expect(meddler.count.load(ordering: .relaxed) == 1)
        _ = try machine.bytes(of: buffer, at: 4096, count: 1)
        try machine.migrate(buffer, to: 0)
        #expect(meddler.count.load(ordering: .relaxed) == 2)
        #expect(machine.nodes.map(\.usage.cached) == [0, 0])
    }

    @Test("A device that is offline from the start")
    func hotAdded() throws {
        let machine = try Machine(
            topology: Topology(
                blockSize: 2 * mebibyte,
                nodes: [
                    .ram(id: 0, memory: 4 * mebibyte, cpus: [0]),
                    .coherent(id: 1, memory: 4 * mebibyte, isOnline: false),
                ]))
        #expect(machine.devices[0].state == .offline && machine.nodesWithMemory == [0])
        #expect(
            failure { () throws(Errno) in try machine.store([1], to: machine.devices[0].memory, at: 0) } == .noSpace)
        try machine.online(machine.block(3)!)
        #expect(machine.devices[0].state == .online)
        #expect(try machine.store([1], to: machine.devices[0].memory, at: 0) == 1)
        #expect(machine.runs(of: machine.devices[0].memory)[0].physicalAddress == 6 * mebibyte)
    }
}
