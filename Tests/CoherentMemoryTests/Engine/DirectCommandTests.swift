import SystemPackage
import Testing

@testable import CoherentMemory

/// Commands on buffers whose bytes are in a file of their own.
@Suite("Commands on direct buffers")
struct DirectCommandTests {
    private func scene(_ policy: String = "bind:1") throws -> (machine: Machine, buffer: Buffer) {
        let machine = try Machine(ram: 16, coherent: [8, 8])
        let buffer = try machine.makeBuffer(policy, size: 64 * 4096)
        try machine.makeDirect(buffer, in: BackingFile(anonymous: "test"), origin: onNode0)
        return (machine, buffer)
    }

    @Test("See what was stored, and are seen, also across a change of how it is mapped")
    func oneMemory() throws {
        let (machine, buffer) = try scene()
        try machine.store(Array("123456789".utf8), to: buffer, at: 4090)
        let nine = try BufferRange(buffer, at: 4090, length: 9)
        #expect(try machine.run(.crc32(nine)).map(\.value) == [0xcbf4_3926])
        try machine.run(.copy(from: nine, to: try BufferRange(buffer, at: 9 * 4096, length: 9)))
        #expect(try machine.bytes(of: buffer, at: 9 * 4096, count: 9) == Array("123456789".utf8))
        try machine.run(.fill(try buffer.pages(2..<4), 7))
        // Nobody waits for a device that maps what everybody may touch.
        try machine.devices[0].queue.setLatency(1_000_000_000)
        let start = ContinuousClock.now
        try machine.store([1], to: buffer, at: 2 * 4096)
        #expect(try machine.bytes(of: buffer, at: 2 * 4096, count: 2) == [1, 7])
        #expect(ContinuousClock.now - start < .seconds(1))
        try machine.devices[0].queue.setLatency(0)
        try machine.checkInvariants()
        try machine.makeTracked(buffer)
        machine.unmapAll(buffer)
        #expect(try machine.bytes(of: buffer, at: 2 * 4096, count: 2) == [1, 7])
        try machine.checkInvariants()
    }

    @Test("Have no page for themselves, as programs map all of them: EOPNOTSUPP")
    func exclusive() throws {
        let (machine, buffer) = try scene()
        let results = try machine.run(.exclusive(try buffer.pages(0..<1)), .write(try buffer.pages(0..<1)))
        #expect(results.map(\.error) == [.notSupported, nil])
        try machine.checkInvariants()
    }

    @Test("Meet poison with EIO, before it with what was done, and go on behind a hole")
    func poison() throws {
        let (machine, buffer) = try scene()
        try machine.run(.fill(try buffer.pages(0..<64), 1))
        try machine.poison(buffer, bytes: 5 * 4096..<6 * 4096, origin: onNode0)
        #expect(machine.devices[0].mmu.figures.mapped == 63)
        let results = try machine.run(
            .fill(try buffer.pages(0..<64), 2), .read(try buffer.pages(5..<6)), .crc32(try buffer.pages(4..<6)),
            .fill(try buffer.pages(6..<64), 2))
        #expect(results.map(\.error) == [.ioError, .ioError, .ioError, nil])
        #expect(results.map(\.value) == [5 * 4096, 0, 0, 58 * 4096])
        machine.punch(buffer, bytes: 5 * 4096..<6 * 4096)
        #expect(try machine.run(.fill(try buffer.pages(0..<64), 3)).map(\.value) == [64 * 4096])
        try machine.checkInvariants()
    }

    @Test("Do not touch a page that is still withheld for want of a frame")
    func withheld() throws {
        let (machine, buffer) = try scene()
        try machine.poison(buffer, bytes: 5 * 4096..<6 * 4096, origin: onNode0)
        let filler = try machine.makeBuffer("bind:1", size: 8 << 20)
        #expect(try machine.run(.write(try filler.pages(0..<2048))).map(\.error) == [.noMemory])
        // The hole finds no frame for it.
        machine.punch(buffer, bytes: 5 * 4096..<6 * 4096)
        machine.remove(filler)
        #expect(machine.devices[0].queue.waitUntilIdle(seconds: 60))
        let results = try machine.run(.write(try buffer.pages(0..<64)), .write(try buffer.pages(5..<6)))
        #expect(results.map(\.error) == [.ioError, .ioError])
        machine.punch(buffer, bytes: 5 * 4096..<6 * 4096)
        #expect(try machine.run(.fill(try buffer.pages(0..<64), 3)).map(\.value) == [64 * 4096])
        try machine.checkInvariants()
    }

    @Test("On a device's own memory end with its link")
    func link() throws {
        let machine = try Machine(ram: 16, coherent: [8, 8])
        let (first, second) = (machine.devices[0], machine.devices[1])
        try machine.makeDirect(first.memory, in: BackingFile(anonymous: "test"), origin: onNode0)
        let page = try first.memory.pages(0..<1)
        #expect(try machine.run(.fill(page, 1)).map(\.error) == [nil])
        #expect(try machine.run(.crc32(page), on: second).map(\.error) == [nil])
        machine.cutLink(of: first)
        #expect(
            failure { () throws(Errno) in try machine.submit([.crc32(page)], to: first) }
                == .operationNotSupportedByDevice)
        // Another device finds no memory there.
        #expect(try machine.run(.crc32(page), on: second).map(\.error) == [.noMemory])
        #expect(second.mmu.figures.mapped == 0)
        try machine.checkInvariants()
    }

    @Test("Leave the pages free to move, but for those of the command under way")
    func moving() throws {
        let (machine, buffer) = try scene()
        try machine.run(.fill(try buffer.pages(0..<64), 5))
        #expect(machine.devices[0].mmu.figures.mapped == 64)
        try machine.migrate(buffer, to: 2)
        #expect(machine.pages(of: buffer) == [2: 64] && machine.devices[0].mmu.figures.mapped == 0)
        try machine.offline(machine.devices[1])
        #expect(machine.pages(of: buffer)[2] == nil)
        #expect(try machine.bytes(of: buffer, at: 0, count: 4096) == [UInt8](repeating: 5, count: 4096))
        try machine.checkInvariants()
    }
}
