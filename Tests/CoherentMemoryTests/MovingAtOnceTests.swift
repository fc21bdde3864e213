import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// What moves on the thread that asks, and who waits for what moves over a link.
@Suite("Moves at once, and moves that take their time", .timeLimit(.minutes(2)))
struct MovingAtOnceTests {
    private static let batch = 512

    private func makeBuffer(_ machine: Machine, batches: Int) throws -> Buffer {
        let buffer = try machine.makeBuffer("bind:0")
        try machine.store([UInt8](repeating: 7, count: batches * Self.batch * 4096), to: buffer, at: 0)
        return buffer
    }

    /// Counts how often the page cache is asked for pages.
    private final class Counter: MappingInvalidator {
        let asked = Atomic(0)

        func invalidate(_ buffer: Buffer, pages: Range<UInt64>) { asked.wrappingAdd(1, ordering: .relaxed) }
    }

    @Test("What has to wait for nobody moves at once, and stays in the page cache; the rest does not")
    func atOnce() throws {
        let machine = try Machine(ram: 16, coherent: [2])
        let buffer = try machine.makeBuffer("bind:0")
        let bytes = (0..<16 * 4096).map { UInt8(truncatingIfNeeded: $0 / 4096 + $0 * 7) }
        try machine.store(bytes, to: buffer, at: 0)
        let counter = Counter()
        machine.setInvalidator(counter)
        #expect(try machine.migrateAtOnce(buffer, to: 1))
        #expect(machine.pages(of: buffer) == [1: 16] && buffer.migration.state == .done)
        #expect(machine.nodes.map(\.usage.cached) == [0, 16] && machine.nodes.map(\.usage.written) == [0, 16])

        let account = MigrationAccount(.buffer)
        #expect(try machine.migrateAtOnce(buffer, bytes: 4096..<3 * 4096, to: 0, account: account))
        #expect(account.result.moved == 2 && account.total == 2)
        #expect(buffer.migration.state == .done && buffer.migration.moved == 2)
        #expect(machine.pages(of: buffer) == [0: 2, 1: 14])
        #expect(try machine.migrateAtOnce(buffer, to: 0) && buffer.migration.moved == 14)
        #expect(try machine.migrateAtOnce(buffer, to: 0) && buffer.migration.moved == 0)
        #expect(counter.asked.load(ordering: .relaxed) == 0)
        #expect(try machine.bytes(of: buffer, at: 0, count: bytes.count) == bytes)

        try machine.setPinned(true, of: buffer)
        #expect(try !machine.migrateAtOnce(buffer, to: 1))
        try machine.setPinned(false, of: buffer)
        buffer.migrationTurn.withLock { _ in #expect((try? machine.migrateAtOnce(buffer, to: 1)) == false) }
        let device = machine.devices[0]
        device.pace = .real
        #expect(try !machine.migrateAtOnce(buffer, to: 1))
        device.pace = .off
        try device.copies.setChannels(1)
        #expect(device.copies.tryBegin())
        #expect(try !machine.migrateAtOnce(buffer, to: 1))
        device.copies.end()
        #expect(machine.runs(of: buffer).allSatisfy { !$0.isMigrating } && machine.pages(of: buffer) == [0: 16])
        #expect(
            failure { () throws(Errno) in try machine.migrateAtOnce(buffer, to: 7) } == .operationNotSupportedByDevice)
        #expect(
            failure { () throws(Errno) in try machine.migrateAtOnce(buffer, bytes: 1..<2, to: 0) } == .invalidArgument)
        try machine.checkInvariants()

        // Room for some of them.
        let other = try machine.makeBuffer("bind:1")
        try machine.store([UInt8](repeating: 3, count: 504 * 4096), to: other, at: 0)
        #expect(failure { () throws(Errno) in try machine.migrateAtOnce(buffer, to: 1) } == .noMemory)
        #expect(buffer.migration.state == .partial && machine.pages(of: buffer) == [0: 8, 1: 8])
        #expect(try machine.bytes(of: buffer, at: 0, count: bytes.count) == bytes)
        try machine.checkInvariants()
    }

    @Test("Many batches that move at once are counted as if each had moved by itself")
    func manyAtOnce() throws {
        func counts(_ move: (Machine, Buffer) throws -> Void) throws -> [UInt64] {
            let machine = try Machine(ram: 16, coherent: [16])
            let device = machine.devices[0]
            try device.updateLink { $0.writeLatency = 1000 }
            let buffer = try makeBuffer(machine, batches: 4)
            machine.punch(buffer, bytes: 4096..<8192)
            try move(machine, buffer)
            #expect(machine.pages(of: buffer) == [1: 4 * Self.batch - 1])
            try machine.checkInvariants()
            let statistics = machine.node(1)!.statistics
            return [
                device.copies.bytes, device.copies.modelledNanoseconds, machine.transfers[0].pages, statistics.hit,
                statistics.local + statistics.other, UInt64(buffer.migration.moved),
            ]
        }
        let atOnce = try counts { machine, buffer in
            let isDone = try machine.migrateAtOnce(buffer, to: 1)
            #expect(isDone)
        }
        let batchwise = try counts { machine, buffer in try machine.migrate(buffer, to: 1) }
        #expect(atOnce == batchwise)
    }

    @Test("Touches of pages on a link that takes its time wait for as long as its model says, and no other touches do")
    func held() throws {
        let machine = try Machine(ram: 16, coherent: [16])
        let device = machine.devices[0]
        let buffer = try machine.makeBuffer("bind:0", size: 64 * 4096)
        let cache = PageCache(machine, mapping: [buffer])
        for page in 0..<64 {
            _ = cache.touch(buffer, page: page) { bytes in
                bytes[0] = UInt8(page)
                return ((), stored: true)
            }
        }
        try device.updateLink { $0.writeLatency = 200_000_000 }
        device.pace = .real
        let stalls = Mutex<[Int: Duration]>([:])
        runThreads([
            { try? machine.migrate(buffer, bytes: 0..<32 * 4096, to: 1) },
            {
                while buffer.state.withLock({ $0.hold?.isComplete != true }) {}
                #expect(machine.runs(of: buffer)[0].isMigrating)
                for page in [40, 0, 31] {
                    let start = ContinuousClock.now
                    let byte = cache.touch(buffer, page: page) { ($0[0], stored: false) }
                    #expect(byte == UInt8(page))
                    stalls.withLock { $0[page] = .now - start }
                }
            },
        ])
        let times = stalls.withLock { $0 }
        #expect(times[40]! < .milliseconds(100) && times[0]! > .milliseconds(100) && times[31]! < .milliseconds(100))
        #expect(machine.pages(of: buffer) == [0: 32, 1: 32])
        try machine.checkInvariants()
    }
}
