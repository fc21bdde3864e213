import Glibc
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// Programs and devices at work on the same pages, which move meanwhile: at every moment there is one memory.
@Suite("One memory", .timeLimit(.minutes(5)))
struct OneMemoryTests {
    private static let pages = 96

    private final class Scene: Sendable {
        let machine: Machine
        /// Two in the page cache, and a direct one.
        let buffers: [Buffer]
        let cache: PageCache
        let isOver = Atomic(false)
        let moves = Atomic(0)
        let problems = Mutex<[String]>([])

        init() throws {
            machine = try Machine(ram: 16, coherent: [8, 4], isolation: .none)
            var buffers = [machine.makeBuffer(), machine.makeBuffer()]
            for buffer in buffers { try machine.resize(buffer, to: UInt64(OneMemoryTests.pages) * 4096) }
            cache = PageCache(machine, mapping: buffers)
            buffers.append(machine.makeBuffer())
            try machine.resize(buffers[2], to: UInt64(OneMemoryTests.pages) * 4096)
            try machine.makeDirect(buffers[2], in: BackingFile(anonymous: "test"), origin: onNode0)
            self.buffers = buffers
        }

        /// A load of a page, and a store to it, by a program.
        func touch(_ buffer: Buffer, page: Int, storing value: UInt8?, at offset: Int) -> [UInt8]? {
            guard let backing = buffer.backing else {
                return cache.touch(buffer, page: page) { bytes in
                    let seen = bytes
                    if let value { bytes[offset] = value }
                    return (seen, stored: value != nil)
                }
            }
            // As through a mapping of the file: without a lock.
            let address = unsafe backing.address(of: UInt64(page) * 4096)
            let seen = unsafe [UInt8](UnsafeRawBufferPointer(start: address, count: 4096))
            if let value { unsafe address.storeBytes(of: value, toByteOffset: offset, as: UInt8.self) }
            return seen
        }

        func report(_ problem: String) { problems.withLock { $0.append(problem) } }

        /// Moves pages to and fro until the rest is over.
        func disturb(_ seed: UInt64) {
            var random = SplitMix64(seed: seed)
            while !isOver.load(ordering: .relaxed) {
                let buffer = buffers.randomElement(using: &random)!
                do throws(Errno) {
                    switch Int.random(in: 0..<4, using: &random) {
                    case 0:
                        let device = machine.devices.randomElement(using: &random)!
                        try machine.offline(device)
                        try machine.online(device)
                    case 1:
                        cache.writeBack(
                            buffers[Int.random(in: 0...1, using: &random)],
                            page: Int.random(in: 0..<OneMemoryTests.pages, using: &random),
                            drops: random.oneIn(2))
                    default: try machine.migrate(buffer, to: Int.random(in: 0...2, using: &random))
                    }
                    moves.wrappingAdd(1, ordering: .relaxed)
                } catch {
                    // Pages of a command under way stay where they are.
                    if ![.resourceBusy, .noMemory, .operationNotSupportedByDevice].contains(error) {
                        report("moving: \(error)")
                    }
                    if error == .resourceBusy { for device in machine.devices { try? machine.online(device) } }
                }
            }
        }
    }

    @Test("agrees with a sequential model while pages move", arguments: [UInt64(1), 2, 3])
    func model(seed: UInt64) throws {
        let scene = try Scene()
        let machine = scene.machine
        let size = Self.pages * 4096
        runThreads([
            { scene.disturb(seed + 100) },
            {
                var random = SplitMix64(seed: seed)
                var model = [[UInt8]](repeating: [UInt8](repeating: 0, count: size), count: 3)
                for step in 0..<1200 {
                    let which = Int.random(in: 0...2, using: &random)
                    let buffer = scene.buffers[which]
                    let page = Int.random(in: 0..<Self.pages, using: &random)
                    if random.oneIn(2) {
                        let offset = Int.random(in: 0..<4096, using: &random)
                        let value = UInt8.random(in: 0...255, using: &random)
                        let stores = random.oneIn(2)
                        let seen = scene.touch(buffer, page: page, storing: stores ? value : nil, at: offset)
                        let start = page * 4096
                        if seen != Array(model[which][start..<start + 4096]) {
                            scene.report("step \(step): page \(page) of \(which) differs")
                        }
                        if stores { model[which][start + offset] = value }
                        continue
                    }
                    do throws(Errno) {
                        try Self.command(step, which, scene, &random, &model)
                    } catch {
                        // A device that is just offline can work all the same; one that is gone cannot be here.
                        scene.report("step \(step): \(error)")
                    }
                }
                scene.isOver.store(true, ordering: .relaxed)
            },
        ])
        #expect(scene.problems.withLock { $0 } == [])
        #expect(scene.moves.load(ordering: .relaxed) > 0)
        for device in machine.devices { #expect(device.queue.waitUntilIdle(seconds: 60)) }
        try machine.checkInvariants()
    }

    /// A random command on a random device, and what it does to the model.
    private static func command(
        _ step: Int, _ which: Int, _ scene: Scene, _ random: inout SplitMix64, _ model: inout [[UInt8]]
    ) throws(Errno) {
        let size = pages * 4096
        let offset = Int.random(in: 0..<size, using: &random)
        let length = Int.random(in: 0...min(40_000, size - offset), using: &random)
        let range = try BufferRange(scene.buffers[which], at: UInt64(offset), length: UInt64(length))
        let device = scene.machine.devices.randomElement(using: &random)!
        let command: DeviceCommand
        var expected = UInt64(length)
        switch Int.random(in: 0..<6, using: &random) {
        case 0:
            let value = UInt8.random(in: 0...255, using: &random)
            command = .fill(range, value)
            model[which].replaceSubrange(offset..<offset + length, with: repeatElement(value, count: length))
        case 1:
            let other = Int.random(in: 0...2, using: &random)
            let to = Int.random(in: 0...size - length, using: &random)
            command = .copy(
                from: range, to: try BufferRange(scene.buffers[other], at: UInt64(to), length: UInt64(length)))
            let bytes = Array(model[which][offset..<offset + length])
            model[other].replaceSubrange(to..<to + length, with: bytes)
        case 2: command = .read(range)
        case 3: command = .write(range)
        case 4 where which < 2: command = .exclusive(range)
        default:
            command = .crc32(range)
            expected = UInt64(checksum(model[which][offset..<offset + length]))
        }
        let result = try scene.machine.run(command, on: device).last
        if result?.error != nil || result?.value != expected {
            scene.report("step \(step): \(command) gave \(String(describing: result)), expected \(expected)")
        }
    }

    /// The checksum, bit by bit.
    private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        ~bytes.reduce(UInt32.max) { sum, byte in
            table[Int(UInt8(truncatingIfNeeded: sum) ^ byte)] ^ sum >> 8
        }
    }

    private static let table = (UInt32(0)..<256).map { byte in
        (0..<8).reduce(byte) { sum, _ in sum & 1 == 0 ? sum >> 1 : sum >> 1 ^ 0xedb8_8320 }
    }

    @Test("loses no increment to a device that stores what is there")
    func increments() throws {
        let scene = try Scene()
        let machine = scene.machine
        let counted = Atomic(0)
        let (buffer, other) = (scene.buffers[0], scene.buffers[1])
        @Sendable func increment(_ seed: UInt64) {
            var random = SplitMix64(seed: seed)
            while !scene.isOver.load(ordering: .relaxed) {
                let page = Int.random(in: 0..<8, using: &random)
                let done: Bool? = scene.cache.touch(buffer, page: page) { bytes in
                    for digit in 0..<4 {
                        bytes[digit] &+= 1
                        if bytes[digit] != 0 { break }
                    }
                    return (true, stored: true)
                }
                if done == nil { scene.report("SIGBUS") }
                counted.add(1, ordering: .relaxed)
            }
        }
        runThreads([
            { increment(1) }, { increment(2) }, { scene.disturb(3) },
            {
                for round in 0..<200 {
                    let device = machine.devices[round % 2]
                    do throws(Errno) {
                        let range = try buffer.pages(0..<8)
                        let results = try machine.run(
                            .write(range), .copy(from: range, to: range), .crc32(range), .exclusive(range),
                            .fill(try other.pages(0..<8), 1), on: device)
                        if results.contains(where: { $0.error != nil }) { scene.report("\(results)") }
                    } catch {
                        scene.report("\(error)")
                    }
                }
                scene.isOver.store(true, ordering: .relaxed)
            },
        ])
        #expect(scene.problems.withLock { $0 } == [])
        var found = 0
        for page in 0..<8 {
            let bytes = try #require(scene.cache.touch(buffer, page: page) { ($0, stored: false) })
            found += (0..<4).reduce(0) { $0 + Int(bytes[$1]) << (8 * $1) }
        }
        #expect(found == counted.load(ordering: .relaxed))
        try machine.checkInvariants()
    }
}
