import Glibc
import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// Far offsets, holes and huge machines: what is not used costs nothing.
@Suite("Sparse", .serialized)
struct SparseTests {
    /// Resident memory of this process in bytes, as /proc has it.
    private static func resident() throws -> Int {
        let file = try FileDescriptor.open(FilePath("/proc/self/statm"), .readOnly)
        defer { try? file.close() }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = try unsafe bytes.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
        let words = String(decoding: bytes[..<count], as: UTF8.self).split(separator: " ")
        return try #require(Int(words[1])) * 4096
    }

    @Test("A node of 1 TiB costs little until it is touched, and its far end works")
    func terabyte() throws {
        let before = try Self.resident()
        let machine = try Machine(
            topology: Topology(
                nodes: [.ram(id: 0, memory: 1 << 30, cpus: [0]), .coherent(id: 1, memory: 1 << 40)]))
        let rise = try Self.resident() - before
        // Other tests run beside this one; the tables of 2^28 frames would be gigabytes.
        #expect(rise < 64 * Int(mebibyte), "\(rise) bytes")
        let node = machine.node(1)!
        #expect(node.usage.free == 1 << 28 && node.usage.freeBlocks[18] == 1024)
        let memory = machine.devices[0].memory
        try machine.store([1, 2, 3], to: memory, at: 1 << 40 - 3)
        #expect(try machine.bytes(of: memory, at: 1 << 40 - 4, count: 100) == [0, 1, 2, 3])
        #expect(failure { () throws(Errno) in try machine.store([1], to: memory, at: 1 << 40) } == .noSpace)
    }

    @Test("A buffer of 2^63 - 1 bytes")
    func boundaries() throws {
        let machine = try Machine(ram: 2, coherent: [2])
        let buffer = machine.makeBuffer()
        let end = UInt64(Int64.max)
        #expect(try machine.store([1, 2, 3], to: buffer, at: end - 3) == 3)
        #expect(buffer.size == end)
        #expect(try machine.bytes(of: buffer, at: end - 4, count: 4096) == [0, 1, 2, 3])
        #expect(try machine.bytes(of: buffer, at: end, count: 4096) == [])
        #expect(try machine.bytes(of: buffer, at: .max, count: 4096) == [])
        for (offset, count) in [(end - 2, 3), (end, 1), (.max, 1), (.max, 0), (end + 1, 0)] {
            let bytes = [UInt8](repeating: 9, count: count)
            #expect(
                failure { () throws(Errno) in try machine.store(bytes, to: buffer, at: offset) } == .fileTooLarge,
                "\(count) at \(offset)")
        }
        #expect(try machine.store([], to: buffer, at: end) == 0)
        #expect(failure { () throws(Errno) in try machine.resize(buffer, to: end + 1) } == .fileTooLarge)
        #expect(
            failure { () throws(Errno) in
                try machine.allocate(buffer, bytes: end..<end + 1, keepsSize: true, origin: onNode0)
            } == .fileTooLarge)
        #expect(buffer.residentPages == 1)
        #expect(try machine.nextData(in: buffer, from: 0) == end - 4095)
        #expect(try machine.nextData(in: buffer, from: end - 1) == end - 1)
        #expect(try machine.nextHole(in: buffer, from: 0) == 0)
        #expect(try machine.nextHole(in: buffer, from: end - 1) == end)
        #expect(failure { () throws(Errno) in try machine.nextHole(in: buffer, from: end) } == .noSuchAddressOrDevice)
        try machine.migrate(buffer, to: 1)
        #expect(machine.pages(of: buffer) == [1: 1])
        try machine.resize(buffer, to: end - 2)
        try machine.resize(buffer, to: end)
        #expect(try machine.bytes(of: buffer, at: end - 3, count: 3) == [1, 0, 0])
        machine.punch(buffer, bytes: 0..<end)
        #expect(buffer.residentPages == 1, "the last page is not covered to its end")
        machine.punch(buffer, bytes: 0..<UInt64.max)
        #expect(buffer.residentPages == 0)
        try machine.checkInvariants()
    }

    @Test("A file of 2^60 bytes with a page here and there; cutting it leaves what lies before")
    func sparse() throws {
        let machine = try Machine(ram: 4, coherent: [2])
        let buffer = machine.makeBuffer()
        try machine.resize(buffer, to: 1 << 60)
        let places = (UInt64(12)..<60).map { UInt64(1) << $0 }
        for place in places { try machine.store([UInt8(place.trailingZeroBitCount)], to: buffer, at: place) }
        // The first two pages follow each other, in memory as well.
        #expect(machine.runs(of: buffer).map(\.offset) == [4096] + places.dropFirst(2))
        var found: [UInt64] = []
        var position: UInt64 = 0
        while let data = try? machine.nextData(in: buffer, from: position) {
            found.append(data)
            position = try machine.nextHole(in: buffer, from: data)
            #expect(position == data + 4096 || data == 4096)
        }
        #expect(found == [4096] + places.dropFirst(2))
        for cut: UInt64 in [1 << 50, (1 << 30) + 1, 8192, 5000, 0] {
            try machine.resize(buffer, to: cut)
            #expect(buffer.residentPages == places.count { $0 < cut })
        }
        #expect(machine.memory.tables.inUse == 0)
    }

    @Test("Pages allocated behind the end stay when the buffer grows, and can be punched out")
    func behindTheEnd() throws {
        let machine = try Machine(ram: 2, coherent: [2])
        let buffer = machine.makeBuffer()
        try machine.allocate(buffer, bytes: 0..<16 << 12, keepsSize: true, origin: onNode0)
        #expect(buffer.size == 0 && buffer.residentPages == 16)
        try machine.resize(buffer, to: 4096)
        #expect(buffer.residentPages == 16)
        machine.punch(buffer, bytes: 8 << 12..<16 << 12)
        #expect(buffer.residentPages == 8)
        try machine.resize(buffer, to: 4000)
        #expect(buffer.residentPages == 1)
        machine.remove(buffer)
        #expect(machine.node(0)!.usage.allocated == 0)
    }

    @Test("Dropping a machine with pages in use is no crash")
    func dropped() throws {
        var kept: Buffer?
        do {
            let machine = try Machine(ram: 2, coherent: [2])
            let buffer = machine.makeBuffer()
            try machine.store([1], to: buffer, at: 1 << 40)
            try machine.store([1], to: machine.devices[0].memory, at: 0)
            kept = buffer
        }
        #expect(try #require(kept).size == 1 << 40 + 1)
    }
}
