import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// Buffers whose bytes are in a file of their own.
@Suite("Direct buffers")
struct DirectTests {
    private func backing() throws -> BackingFile { try BackingFile(anonymous: "test") }

    private func makeDirect(_ machine: Machine, _ policy: String, size: UInt64) throws -> Buffer {
        let buffer = try machine.makeBuffer(policy, size: size)
        try machine.makeDirect(buffer, in: backing(), origin: onNode0)
        return buffer
    }

    @Test("All frames are taken at once, under the policy, and none is had back by a hole")
    func reservation() throws {
        let machine = try Machine(ram: 8, coherent: [8])
        let buffer = try makeDirect(machine, "bind:1", size: 3 << 20 + 1)
        #expect(machine.pages(of: buffer) == [1: 769] && buffer.mapping == .direct && buffer.hugeMode == .withinSize)
        machine.punch(buffer, bytes: 0..<2 << 20)
        #expect(machine.pages(of: buffer) == [1: 769])
        try machine.resize(buffer, to: 4097)
        #expect(machine.pages(of: buffer) == [1: 2])
        #expect(try machine.store([1], to: buffer, at: 10 << 12) == 1)
        #expect(machine.pages(of: buffer) == [1: 11])
        try machine.checkInvariants()
        machine.remove(buffer)
        #expect(machine.node(1)!.usage.free == 2048)
        try machine.checkInvariants()
    }

    @Test("A node that is full is ENOSPC, and nothing has changed; a write is done in part")
    func full() throws {
        let machine = try Machine(ram: 8, coherent: [8])
        let buffer = try makeDirect(machine, "bind:1", size: 1 << 20)
        #expect(failure { () throws(Errno) in try machine.resize(buffer, to: 9 << 20) } == .noSpace)
        #expect(buffer.size == 1 << 20 && machine.pages(of: buffer) == [1: 256])
        let other = try machine.makeBuffer("bind:1", size: 9 << 20)
        #expect(
            failure { () throws(Errno) in try machine.makeDirect(other, in: try backing(anonymous: ()), origin: onNode0)
            }
                == .noSpace)
        #expect(other.mapping == .tracked && machine.pages(of: other) == [:] && other.hugeMode == .never)
        try machine.resize(buffer, to: 2047 << 12)
        #expect(try machine.store([UInt8](repeating: 3, count: 20000), to: buffer, at: 2047 << 12 - 1) == 4097)
        #expect(buffer.size == 8 << 20 && machine.pages(of: buffer) == [1: 2048])
        #expect(failure { () throws(Errno) in try machine.store([1], to: buffer, at: 8 << 20) } == .noSpace)
        #expect(
            failure { () throws(Errno) in
                try machine.allocate(buffer, bytes: 0..<9 << 20, keepsSize: false, origin: onNode0)
            } == .noSpace)
        try machine.checkInvariants()
    }

    private func backing(anonymous: Void) throws(Errno) -> BackingFile { try BackingFile(anonymous: "test") }

    @Test("Bytes come along both ways, and stay where they are while frames move")
    func bytes() throws {
        let machine = try Machine(ram: 8, coherent: [8])
        let buffer = try machine.makeBuffer("bind:0", size: 1 << 20)
        let text = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        try machine.store(text, to: buffer, at: 5000)
        try machine.makeDirect(buffer, in: backing(), origin: onNode0)
        #expect(machine.node(0)!.usage.written == 0)
        #expect(try machine.bytes(of: buffer, at: 5000, count: 100_000) == text)
        #expect(machine.runs(of: buffer).filter(\.isDirty).map(\.offset) == [4096])
        try machine.migrate(buffer, to: 1)
        #expect(machine.pages(of: buffer) == [1: 256] && buffer.migration.moved == 256)
        #expect(machine.devices[0].copies.bytes == 1 << 20 && machine.devices[0].copies.modelledNanoseconds > 0)
        #expect(try machine.bytes(of: buffer, at: 5000, count: 100_000) == text)
        try machine.checkInvariants()
        try machine.makeTracked(buffer)
        #expect(buffer.mapping == .tracked && machine.pages(of: buffer) == [1: 256])
        #expect(try machine.bytes(of: buffer, at: 5000, count: 100_000) == text)
        #expect(try machine.bytes(of: buffer, at: 0, count: 5000).allSatisfy { $0 == 0 })
        #expect(try machine.nextData(in: buffer, from: 0) == 0)
        try machine.checkInvariants()
        // Freed frames are zero for whoever gets them next.
        machine.remove(buffer)
        let next = try machine.makeBuffer("bind:1", size: 8 << 20)
        #expect(try machine.bytes(of: next, at: 0, count: 2 << 20).allSatisfy { $0 == 0 })
    }

    @Test("Pins, offlining, blockers, reclaim and a device that goes")
    func moving() throws {
        let machine = try Machine(ram: 16, coherent: [8])
        let buffer = try makeDirect(machine, "bind:1", size: 4 << 20)
        try machine.setPinned(true, of: buffer)
        #expect(machine.blockers(of: machine.node(1)!).map(\.bytes) == [0..<4 << 20])
        #expect(failure { () throws(Errno) in try machine.offline(machine.devices[0]) } == .resourceBusy)
        try machine.setPinned(false, of: buffer)
        // Nobody can tell whether it is used.
        #expect(try machine.reclaim(1024, of: machine.node(1)!, demotingTo: [machine.node(0)!], waitForUse: {}) == 0)
        try machine.store([9], to: buffer, at: 1 << 20)
        try machine.offline(machine.devices[0])
        #expect(machine.pages(of: buffer) == [0: 1024])
        #expect(try machine.bytes(of: buffer, at: 1 << 20, count: 1) == [9])
        try machine.online(machine.devices[0])
        let device = machine.devices[0].memory
        try machine.makeDirect(device, in: backing(), origin: onNode0)
        #expect(machine.pages(of: device) == [1: 2048] && device.size == 8 << 20)
        try machine.store([7], to: device, at: 8 << 20 - 1)
        try machine.checkInvariants()
        try machine.remove(machine.devices[0], isForced: true)
        #expect(device.mapping == .tracked && machine.pages(of: device) == [:])
        try machine.rescan()
        try machine.online(machine.devices[0])
        #expect(try machine.bytes(of: device, at: 8 << 20 - 1, count: 1) == [0])
        try machine.checkInvariants()
    }

    @Test("A page whose memory fails is EIO, its neighbours are not, and a hole or clearing makes it a good zero page")
    func failures() throws {
        let machine = try Machine(ram: 16, coherent: [8])
        let buffer = try makeDirect(machine, "bind:1", size: 4 << 20)
        try machine.store([UInt8](repeating: 6, count: 4 << 20), to: buffer, at: 0)
        func isGood(_ page: UInt64) -> Bool { (try? machine.bytes(of: buffer, at: page << 12, count: 1)) != nil }
        try machine.poison(buffer, bytes: 5 << 12..<7 << 12, origin: onNode0)
        let bad = machine.runs(of: buffer).filter(\.isPoisoned)
        #expect(bad.map(\.offset) == [5 << 12] && bad.map(\.length) == [8192])
        #expect(!isGood(5) && !isGood(6) && isGood(4) && isGood(7))
        #expect(failure { () throws(Errno) in try machine.store([1], to: buffer, at: 6 << 12) } == .ioError)
        #expect(try machine.bytes(of: buffer, at: 0, count: 100_000).count == 5 << 12)
        #expect(machine.pages(of: buffer) == [1: 1022])
        try machine.checkInvariants()
        try machine.migrate(buffer, to: 0)
        #expect(machine.pages(of: buffer) == [0: 1022])
        machine.punch(buffer, bytes: 5 << 12..<6 << 12)
        #expect(isGood(5) && !isGood(6) && machine.pages(of: buffer).values.reduce(0, +) == 1023)
        #expect(failure { () throws(Errno) in try machine.makeTracked(buffer) } == .ioError)
        try machine.clearFailure(address: bad[0].physicalAddress + 4096)
        #expect(isGood(6) && machine.runs(of: buffer).allSatisfy { !$0.isPoisoned })
        #expect(
            try machine.bytes(of: buffer, at: 5 << 12, count: 12288) == [UInt8](repeating: 0, count: 8192)
                + [UInt8](repeating: 6, count: 4096))
        try machine.checkInvariants()
        try machine.poison(buffer, bytes: 1023 << 12..<1024 << 12, origin: onNode0)
        try machine.resize(buffer, to: 8 << 20)
        #expect(!isGood(1023) && isGood(2047))
        try machine.resize(buffer, to: 4096)
        try machine.resize(buffer, to: 4 << 20)
        #expect(isGood(1023))
        try machine.makeTracked(buffer)
        try machine.checkInvariants()
    }

    @Test("What does not go together is EOPNOTSUPP")
    func refusals() throws {
        let machine = try Machine(ram: 8, coherent: [8], contiguous: 4)
        let row = try machine.makeBuffer("default", size: 4096)
        try machine.makeContiguous(row, on: 1)
        let pooled = machine.makeBuffer(huge: .pool)
        for buffer in [row, pooled] {
            #expect(
                failure { () throws(Errno) in
                    try machine.makeDirect(buffer, in: try backing(anonymous: ()), origin: onNode0)
                } == .notSupported)
        }
        let buffer = try makeDirect(machine, "default", size: 4096)
        #expect(failure { () throws(Errno) in try machine.setHugeMode(.pool, of: buffer) } == .notSupported)
        #expect(failure { () throws(Errno) in try machine.makeContiguous(buffer, on: 1) } == .notSupported)
        #expect(
            failure { () throws(Errno) in
                try machine.makeDirect(buffer, in: try backing(anonymous: ()), origin: onNode0)
            } == .resourceBusy)
        try machine.checkInvariants()
    }

    @Test("Random operations beside plain arrays", arguments: 1...3)
    func walk(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let machine = try Machine(ram: 8, coherent: [8, 4], isolation: .none)
        var model: [(buffer: Buffer, bytes: [UInt8])] = []
        for index in 0..<3 {
            let buffer = machine.makeBuffer(huge: index == 2 ? .never : nil)
            model.append((buffer, []))
            try machine.makeDirect(buffer, in: backing(), origin: onNode0)
        }
        for step in 0..<150 {
            let index = Int.random(in: 0..<3, using: &random)
            let buffer = model[index].buffer
            let size = model[index].bytes.count
            let place = Int.random(in: 0..<3 << 20, using: &random)
            let count = Int.random(in: 1..<300_000, using: &random)
            switch Int.random(in: 0..<9, using: &random) {
            case 0:
                let size = random.oneIn(3) ? place & ~4095 : place
                let needed = (size + 4095) / 4096
                let result = failure { () throws(Errno) in try machine.resize(buffer, to: UInt64(size)) }
                if result == nil {
                    model[index].bytes = Array(model[index].bytes.prefix(size))
                    model[index].bytes += [UInt8](repeating: 0, count: size - model[index].bytes.count)
                } else {
                    #expect(result == .noSpace && needed > 0)
                }
            case 1, 2:
                let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* Int(seed) &+ step) }
                guard let stored = try? machine.store(bytes, to: buffer, at: UInt64(place)) else { break }
                if model[index].bytes.count < place + stored {
                    model[index].bytes += [UInt8](repeating: 0, count: place + stored - model[index].bytes.count)
                }
                model[index].bytes.replaceSubrange(place..<place + stored, with: bytes.prefix(stored))
            case 3:
                let range = min(place, size)..<min(place + count, size)
                machine.punch(buffer, bytes: UInt64(place)..<UInt64(place + count))
                model[index].bytes.replaceSubrange(range, with: [UInt8](repeating: 0, count: range.count))
            case 4: try? machine.migrate(buffer, to: Int.random(in: 0...2, using: &random))
            case 5:
                let block = try #require(machine.block(machine.blockNumbers.randomElement(using: &random)!))
                if block.state == .online { try? machine.offline(block) } else { try machine.online(block) }
            case 6: if buffer.mapping == .direct { try machine.makeTracked(buffer) }
            case 7:
                if buffer.mapping == .tracked {
                    try? machine.makeDirect(buffer, in: backing(), origin: onNode0)
                }
            default:
                // What a tracked one lacks may find no frame.
                guard buffer.mapping == .direct else { break }
                let found = try machine.bytes(of: buffer, at: UInt64(place), count: count)
                #expect(found == Array(model[index].bytes.dropFirst(place).prefix(count)), "step \(step)")
            }
            #expect(buffer.size == UInt64(model[index].bytes.count))
            if step % 10 == 0 { try machine.checkInvariants() }
        }
        for (buffer, bytes) in model {
            if buffer.mapping == .direct {
                var found: [UInt8] = []
                while found.count < bytes.count {
                    found += try machine.bytes(of: buffer, at: UInt64(found.count), count: 2 << 20)
                }
                #expect(found == bytes)
            }
            machine.remove(buffer)
        }
        try machine.checkInvariants()
    }
}
