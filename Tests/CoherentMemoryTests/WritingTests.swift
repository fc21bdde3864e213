import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// What stores, allocations and a device's end answer when something does not fit.
@Suite("Writing")
struct WritingTests {
    @Test("A store is cut where frames run out, and is ENOSPC when nothing fits")
    func short() throws {
        let machine = try Machine(ram: 2, coherent: [2])
        let buffer = machine.makeBuffer()
        let stored = try machine.store([UInt8](repeating: 4, count: 3 << 20), to: buffer, at: 100)
        #expect(stored == 2 << 20 - 100)
        #expect(buffer.size == 2 << 20)
        #expect(failure { () throws(Errno) in try machine.store([1], to: buffer, at: 2 << 20) } == .noSpace)
        #expect(buffer.size == 2 << 20)
        #expect(try machine.store([9], to: buffer, at: 5) == 1)
        #expect(try machine.bytes(of: buffer, at: 4, count: 3) == [0, 9, 0])
    }

    @Test("A read that is no touch gives no frame, and brings nothing into the page cache")
    func peeking() throws {
        let machine = try Machine(ram: 4, coherent: [2])
        let buffer = try machine.makeBuffer("bind:1", size: 3 << 20)
        for page in [UInt64(0), 70, 700] { try machine.store([7], to: buffer, at: page << 12 + 9) }
        let before = (machine.runs(of: buffer), machine.node(1)!.usage.free)
        var expected = [UInt8](repeating: 0, count: 2 << 20)
        for page in [0, 70] { expected[page << 12 + 9] = 7 }
        let found = try machine.bytes(of: buffer, at: 0, count: 4 << 20, isTouch: false)
        #expect(found == expected && Machine.maximumRead == 2 << 20)
        #expect(try machine.bytes(of: buffer, at: 700 << 12 + 8, count: 3, isTouch: false) == [0, 7, 0])
        #expect(try machine.bytes(of: buffer, at: 3 << 20 - 1, count: 3, isTouch: false) == [0])
        #expect(try machine.bytes(of: buffer, at: 3 << 20, count: 3, isTouch: false) == [])
        #expect(machine.runs(of: buffer) == before.0 && machine.node(1)!.usage.free == before.1)
        #expect(buffer.hasHoles)
        try machine.allocate(buffer, bytes: 0..<1 << 20, keepsSize: true, origin: onNode0)
        try machine.resize(buffer, to: 1 << 20)
        #expect(!buffer.hasHoles)
        try machine.checkInvariants()
    }

    @Test("An allocation that does not fit leaves what was there, and nothing else")
    func undo() throws {
        let machine = try Machine(ram: 4, coherent: [2])
        let buffer = machine.makeBuffer()
        for page in [UInt64(0), 3, 700] { try machine.store([UInt8(page & 255)], to: buffer, at: page << 12) }
        let before = machine.runs(of: buffer)
        #expect(
            failure { () throws(Errno) in
                try machine.allocate(buffer, bytes: 0..<8 << 20, keepsSize: false, origin: onNode0)
            } == .noSpace)
        #expect(machine.runs(of: buffer) == before)
        #expect(buffer.size == 700 << 12 + 1)
        #expect(
            failure { () throws(Errno) in
                try machine.allocate(buffer, bytes: 5..<5, keepsSize: true, origin: onNode0)
            } == .invalidArgument)
        try machine.checkInvariants()
    }

    @Test("A device ends where its memory does: a short store, then ENOSPC; a write-back is cut in silence")
    func device() throws {
        let machine = try Machine(ram: 2, coherent: [2])
        let memory = machine.devices[0].memory
        let size = memory.size
        #expect(try machine.store([1, 2, 3], to: memory, at: size - 2) == 2)
        #expect(failure { () throws(Errno) in try machine.store([1], to: memory, at: size) } == .noSpace)
        #expect(failure { () throws(Errno) in try machine.store([1], to: memory, at: size + 1) } == .noSpace)
        #expect(try machine.store([], to: memory, at: size) == 0)
        #expect(try machine.store([7, 8], to: memory, at: size - 1, isGrowing: false) == 2)
        #expect(try machine.bytes(of: memory, at: size - 2, count: 9) == [1, 7])
        #expect(memory.size == size)
        #expect(failure { () throws(Errno) in try machine.resize(memory, to: size - 1) } == .invalidArgument)
        try machine.resize(memory, to: size)
        #expect(
            failure { () throws(Errno) in
                try machine.allocate(memory, bytes: size - 1..<size + 1, keepsSize: true, origin: onNode0)
            } == .noSpace)
        try machine.allocate(memory, bytes: 0..<size, keepsSize: false, origin: onNode0)
        #expect(machine.pages(of: memory) == [1: 512])
        machine.punch(memory, bytes: 0..<size)
        #expect(machine.node(1)!.usage.free == 512)
    }

    @Test("Stores over frames of several nodes, new ones and old ones, in any pieces, are what a plain array has")
    func pieces() throws {
        let machine = try Machine(ram: 4, coherent: [4, 4], isolation: .none)
        let buffer = try machine.makeBuffer("interleave:0-2")
        var model = [UInt8](repeating: 0, count: 96 * 4096)
        try machine.resize(buffer, to: UInt64(model.count))
        var random = SplitMix64(seed: 11)
        for step in 0..<400 {
            let offset = Int.random(in: 0..<model.count, using: &random) & (random.oneIn(2) ? ~4095 : ~0)
            let length = min(
                model.count - offset, Int.random(in: 1...(random.oneIn(4) ? 300_000 : 9000), using: &random))
            switch step % 8 {
            case 0:
                machine.punch(buffer, bytes: UInt64(offset)..<UInt64(offset + length))
                for at in offset..<offset + length { model[at] = 0 }
            case 1:
                try machine.migrate(buffer, to: step % 3)
            default:
                let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 * 31 + step) }
                try machine.store(bytes, to: buffer, at: UInt64(offset), isGrowing: random.oneIn(2))
                model.replaceSubrange(offset..<offset + length, with: bytes)
            }
        }
        #expect(try machine.bytes(of: buffer, at: 0, count: model.count) == model)
        try machine.checkInvariants()
    }

    @Test("A write-back behind the end is dropped, across the end cut")
    func writeBack() throws {
        let machine = try Machine(ram: 2, coherent: [2])
        let buffer = try machine.makeBuffer("default", size: 6000)
        #expect(try machine.store([UInt8](repeating: 1, count: 4096), to: buffer, at: 8192, isGrowing: false) == 4096)
        #expect(buffer.residentPages == 0)
        #expect(try machine.store([UInt8](repeating: 1, count: 4096), to: buffer, at: 4096, isGrowing: false) == 4096)
        #expect(buffer.size == 6000 && buffer.residentPages == 1)
        try machine.resize(buffer, to: 8192)
        let bytes = try machine.bytes(of: buffer, at: 4096, count: 4096)
        #expect(bytes == [UInt8](repeating: 1, count: 1904) + [UInt8](repeating: 0, count: 2192))
    }
}
