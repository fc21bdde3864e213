import LinuxSupport
import SystemPackage
import Testing

@testable import CoherentMemory

extension Machine {
    /// Has a device execute commands, and waits for it.
    @discardableResult
    func run(_ commands: DeviceCommand..., on device: Device? = nil) throws(Errno) -> [CommandResult] {
        let device = device ?? devices[0]
        let numbers = try submit(commands, to: device)
        guard device.queue.waitUntilIdle(seconds: 60) else { throw .timedOut }
        return device.queue.results.filter { numbers.contains($0.sequence) }
    }
}

extension Buffer {
    /// Bytes of the buffer, in pages.
    func pages(_ pages: Range<UInt64>) throws(Errno) -> BufferRange {
        try BufferRange(self, at: pages.lowerBound * 4096, length: UInt64(pages.count) * 4096)
    }
}

@Suite("Commands of a device")
struct CommandTests {
    /// Node 0 of RAM, node 1 of the device, a buffer of 64 pages, and the page cache over it.
    private func scene(_ policy: String = "default") throws -> (machine: Machine, buffer: Buffer, cache: PageCache) {
        let machine = try Machine(ram: 16, coherent: [8, 8])
        let buffer = try machine.makeBuffer(policy, size: 64 * 4096)
        return (machine, buffer, PageCache(machine, mapping: [buffer]))
    }

    /// A device that has used its own memory, and a buffer, of a machine that nobody has any more.
    private func leftBehind() throws -> Left {
        let (machine, buffer, cache) = try scene()
        try machine.run(.fill(try machine.devices[0].memory.pages(0..<4), 7), .fill(try buffer.pages(0..<4), 7))
        return withExtendedLifetime(cache) { Left(device: machine.devices[0], buffer: buffer) }
    }

    private struct Left {
        weak var device: Device?
        weak var buffer: Buffer?
    }

    @Test("leave nothing of a machine that nobody has any more")
    func lifetime() async throws {
        let left = try leftBehind()
        // The queue's thread may have it for a moment longer.
        for _ in 0..<500 where left.device != nil { try await Task.sleep(for: .milliseconds(10)) }
        #expect(left.device == nil && left.buffer == nil)
    }

    @Test("numbers them, and tells what became of the last 64")
    func results() throws {
        let (machine, buffer, _) = try scene()
        let range = try buffer.pages(0..<1)
        #expect(try machine.run(.fence).map(\.sequence) == [1])
        let results = try machine.run(.fill(range, 7), .read(range), .write(range), .exclusive(range), .fence)
        #expect(results.map(\.sequence) == [2, 3, 4, 5, 6])
        #expect(results.allSatisfy { $0.error == nil })
        #expect(results.map(\.value) == [4096, 4096, 4096, 4096, 0])
        for _ in 0..<70 { try machine.run(.fence) }
        let queue = machine.devices[0].queue
        #expect(queue.results.map(\.sequence) == Array(13...76))
        #expect(queue.completed == 76)
        #expect(queue.failed == 0)
        #expect(queue.depth == 0)
    }

    @Test("goes on after one that fails")
    func failures() throws {
        let (machine, buffer, _) = try scene()
        let behind = try BufferRange(buffer, at: 63 * 4096, length: 8192)
        let results = try machine.run(.crc32(behind), .fill(behind, 1), .crc32(try buffer.pages(0..<1)))
        #expect(results.map(\.error) == [.badAddress, .badAddress, nil])
        #expect(machine.devices[0].queue.failed == 2)
        #expect(failure { () throws(Errno) in try BufferRange(buffer, at: .max, length: 2) } == .invalidArgument)
        let many = [DeviceCommand](repeating: .fence, count: CommandQueue.capacity + 1)
        #expect(
            failure { () throws(Errno) in try machine.submit(many, to: machine.devices[0]) }
                == .resourceTemporarilyUnavailable)
        try machine.checkInvariants()
    }

    @Test("computes the checksum of zlib, over pages that are stored to and others")
    func checksum() throws {
        let (machine, buffer, _) = try scene()
        try machine.store(Array("123456789".utf8), to: buffer, at: 4090)
        let nine = try BufferRange(buffer, at: 4090, length: 9)
        #expect(try machine.run(.crc32(nine)).map(\.value) == [0xcbf4_3926])
        // crc32(0, 4096 zeros)
        #expect(try machine.run(.crc32(try buffer.pages(9..<10))).map(\.value) == [0xc71c_0011])
        #expect(try machine.run(.crc32(try BufferRange(buffer, at: 0, length: 0))).map(\.value) == [0])
    }

    @Test("copies, in one buffer and another, also where the ranges overlap")
    func copying() throws {
        let (machine, buffer, _) = try scene()
        let other = try machine.makeBuffer("bind:0", size: 64 * 4096)
        var random = SplitMix64(seed: 3)
        var bytes = (0..<200_000).map { _ in UInt8.random(in: 0...255, using: &random) }
        try machine.store(bytes, to: buffer, at: 100)
        try machine.run(
            .copy(
                from: try BufferRange(buffer, at: 100, length: 200_000),
                to: try BufferRange(other, at: 4097, length: 200_000)))
        machine.unmapAll(other)
        #expect(try machine.bytes(of: other, at: 4097, count: 200_000) == bytes)
        #expect(try machine.bytes(of: other, at: 0, count: 4097).allSatisfy { $0 == 0 })
        for (from, to) in [(100, 5000), (5000, 100), (100, 190_000), (7, 7)] {
            machine.unmapAll(buffer)
            bytes = try machine.bytes(of: buffer, at: UInt64(from), count: 60_000)
            try machine.run(
                .copy(
                    from: try BufferRange(buffer, at: UInt64(from), length: 60_000),
                    to: try BufferRange(buffer, at: UInt64(to), length: 60_000)))
            let copied = machine.devices[0].queue.results.last
            #expect(copied?.error == nil && copied?.value == 60_000)
            machine.unmapAll(buffer)
            #expect(try machine.bytes(of: buffer, at: UInt64(to), count: 60_000) == bytes, "\(from) to \(to)")
        }
        machine.unmapAll(other)
        try machine.checkInvariants()
    }

    @Test("copies much at once, wherever it begins", arguments: [(0, 0), (16, 4096), (5, 9), (4096, 16400)])
    func copyingMuch(from: UInt64, to: UInt64) throws {
        let machine = try Machine(ram: 64, coherent: [32])
        let (source, target) = (
            try machine.makeBuffer("bind:0", size: 10 << 20), try machine.makeBuffer("bind:1", size: 10 << 20)
        )
        var random = SplitMix64(seed: from)
        var bytes: [UInt8] = []
        while bytes.count < 9 << 20 {
            unsafe withUnsafeBytes(of: random.next()) { unsafe bytes.append(contentsOf: $0) }
        }
        try machine.store(bytes, to: source, at: from)
        let length = UInt64(bytes.count)
        try machine.run(
            .copy(
                from: try BufferRange(source, at: from, length: length),
                to: try BufferRange(target, at: to, length: length)))
        machine.unmapAll(target)
        for start in stride(from: 0, to: bytes.count, by: 1 << 20) {
            let part = try machine.bytes(of: target, at: to + UInt64(start), count: 1 << 20)
            #expect(part == Array(bytes[start..<start + (1 << 20)]), "from \(start) on")
        }
    }

    @Test("sees what a program stored, and a program sees what it did")
    func oneMemory() throws {
        let (machine, buffer, cache) = try scene()
        for round in UInt8(1)...20 {
            cache.touch(buffer, page: 3) { bytes in
                bytes = [UInt8](repeating: round, count: 4096)
                return ((), stored: true)
            }
            let page = try buffer.pages(3..<4)
            try machine.run(.copy(from: page, to: try buffer.pages(4..<5)), .fill(page, 100 + round))
            #expect(cache.touch(buffer, page: 4) { ($0, stored: false) } == [UInt8](repeating: round, count: 4096))
            #expect(
                cache.touch(buffer, page: 3) { ($0, stored: false) } == [UInt8](repeating: 100 + round, count: 4096))
        }
        try machine.checkInvariants()
    }

    @Test("allocates what it touches first on its own node, unless the policy says otherwise")
    func firstTouch() throws {
        let (machine, buffer, _) = try scene()
        try machine.run(.read(try buffer.pages(0..<8)))
        #expect(machine.pages(of: buffer) == [1: 8])
        try machine.run(.write(try buffer.pages(8..<12)), on: machine.devices[1])
        #expect(machine.pages(of: buffer) == [1: 8, 2: 4])
        #expect(buffer.counters.device == 12)
        #expect(buffer.counters.cpu == 0)
        let bound = try machine.makeBuffer("bind:0", size: 8 * 4096)
        try machine.run(.write(try bound.pages(0..<8)))
        #expect(machine.pages(of: bound) == [0: 8])
        try machine.checkInvariants()
    }

    @Test("fails where isolation or the size of memory leave no page")
    func noMemory() throws {
        let (machine, _, _) = try scene()
        let bound = try machine.makeBuffer("bind:1", size: 16 << 20)
        let results = try machine.run(.write(try bound.pages(0..<4096)), .fence)
        #expect(results.map(\.error) == [.noMemory, nil])
        #expect(results[0].value == 8 << 20)
        #expect(machine.pages(of: bound) == [1: 2048])
        try machine.checkInvariants()
    }

    @Test("ends with its queue")
    func closing() throws {
        let (machine, buffer, _) = try scene()
        let queue = machine.devices[0].queue
        try machine.run(.write(try buffer.pages(0..<4)))
        #expect(failure { () throws(Errno) in try queue.setLatency(1_000_000_001) } == .outOfRange)
        try queue.setLatency(1_000_000_000)
        try machine.submit([.fence, .fence], to: machine.devices[0])
        machine.punch(buffer, bytes: 0..<16384)
        queue.close()
        #expect(queue.waitUntilIdle(seconds: 60))
        #expect(queue.results.suffix(2).map(\.error) == [.canceled, .canceled])
        #expect(
            failure { () throws(Errno) in try machine.submit([.fence], to: machine.devices[0]) }
                == .operationNotSupportedByDevice)
        try machine.checkInvariants()
    }
}

extension Machine {
    /// Has all devices let go of a buffer, as a touch of each page does.
    func unmapAll(_ buffer: Buffer) {
        buffer.state.withLock { state in
            for device in devices { state.pages.unmap(0..<UInt64.max >> Page.shift, from: device.mmu) }
        }
    }
}
