import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// Devices that take pages from each other, and those who wait for devices.
@Suite("Exclusive access of devices", .timeLimit(.minutes(5)))
struct HandOverTests {
    private func scene() throws -> (machine: Machine, buffer: Buffer, first: Device, second: Device) {
        let machine = try Machine(ram: 16, coherent: [8, 8, 8], isolation: .none)
        let buffer = try machine.makeBuffer("bind:0", size: 128 * 4096)
        return (machine, buffer, machine.devices[0], machine.devices[1])
    }

    @Test("What another device has goes through that one's queue, and waits its turn there")
    func turn() throws {
        let (machine, buffer, first, second) = try scene()
        let pages = try buffer.pages(0..<100)
        try machine.run(.fill(pages, 3), on: second)
        try second.queue.setLatency(200_000_000)
        var start = ContinuousClock.now
        #expect(try machine.run(.exclusive(pages)).map(\.value) == [409_600])
        // Two parts of up to 64 pages, one after the other.
        #expect(ContinuousClock.now - start >= .milliseconds(400))
        #expect(first.mmu.figures.mapped == 100 && second.mmu.figures.mapped == 0)
        // The other way round: what one has for itself another one's touch takes away.
        try first.queue.setLatency(200_000_000)
        try second.queue.setLatency(0)
        start = .now
        #expect(try machine.run(.read(try buffer.pages(0..<10)), on: second).map(\.error) == [nil])
        #expect(ContinuousClock.now - start >= .milliseconds(200))
        #expect(first.mmu.figures.mapped == 90 && second.mmu.figures.mapped == 10)
        // Shared, nobody has to let go.
        try first.queue.setLatency(0)
        try machine.run(.read(try buffer.pages(0..<10)))
        #expect(first.mmu.figures.mapped == 100 && second.mmu.figures.mapped == 10)
        try machine.checkInvariants()
    }

    @Test("Devices that want all the same pages for themselves all get them", arguments: [UInt64(0), 200_000])
    func contention(latency: UInt64) throws {
        let (machine, buffer, _, _) = try scene()
        for device in machine.devices { try device.queue.setLatency(latency) }
        var random = SplitMix64(seed: latency)
        for device in machine.devices {
            var commands: [DeviceCommand] = []
            for round in UInt8(0)..<40 {
                let start = UInt64.random(in: 0..<100, using: &random)
                let range = try buffer.pages(start..<start + 28)
                commands += [.exclusive(range), .fill(range, round), .read(try buffer.pages(0..<128))]
            }
            try machine.submit(commands, to: device)
        }
        for device in machine.devices {
            #expect(device.queue.waitUntilIdle(seconds: 100))
            #expect(device.queue.failed == 0 && device.queue.completed == 120)
        }
        try machine.checkInvariants()
    }

    @Test("A device that is gone, or closed, no longer waits for another one")
    func gone() throws {
        let (machine, buffer, first, second) = try scene()
        let page = try buffer.pages(0..<1)
        try machine.run(.fill(page, 3), on: second)
        try second.queue.setLatency(1_000_000_000)
        let start = ContinuousClock.now
        try machine.submit([.exclusive(page)], to: first)
        machine.cutLink(of: first)
        #expect(first.queue.waitUntilIdle(seconds: 60))
        #expect(ContinuousClock.now - start < .seconds(1))
        #expect(first.queue.results.map(\.error) == [.operationNotSupportedByDevice])
        #expect(second.queue.waitUntilIdle(seconds: 60))
        #expect(first.mmu.figures.mapped == 0 && first.mmu.figures.contexts == 0)
        try machine.checkInvariants()
    }

    @Test("A command that waits when the link is cut, and the one under way, fail at once with ENODEV")
    func cut() throws {
        let (machine, buffer, first, _) = try scene()
        try first.queue.setLatency(1_000_000_000)
        let start = ContinuousClock.now
        try machine.submit([.crc32(try buffer.pages(0..<1)), .fence], to: first)
        machine.cutLink(of: first)
        #expect(first.queue.waitUntilIdle(seconds: 60))
        #expect(ContinuousClock.now - start < .seconds(1))
        #expect(first.queue.results.map(\.error) == [.operationNotSupportedByDevice, .operationNotSupportedByDevice])
        // What was submitted before does not happen to the device that comes back.
        machine.restoreLink(of: first)
        machine.autoOnline = .online
        try machine.rescan()
        try first.queue.setLatency(0)
        #expect(try machine.run(.fill(try buffer.pages(0..<1), 7)).map(\.error) == [nil])
        #expect(first.queue.failed == 2 && first.queue.completed == 1)
        try machine.checkInvariants()
    }

    @Test("A migration that waits for a device's invalidations can be cancelled, and works later")
    func cancellation() throws {
        let (machine, buffer, first, _) = try scene()
        let contiguous = try Machine(ram: 16, coherent: [8, 8], contiguous: 4)
        let whole = try contiguous.makeBuffer("default", size: 64 * 4096)
        try contiguous.makeContiguous(whole, on: 1, by: 0)
        for (machine, buffer, target) in [(machine, buffer, 2), (contiguous, whole, 2)] {
            let device = machine.devices[0]
            try machine.run(.fill(try buffer.pages(0..<64), 3), on: device)
            let before = machine.pages(of: buffer)
            try device.queue.setLatency(1_000_000_000)
            let account = MigrationAccount(.buffer)
            let start = ContinuousClock.now
            runThreads([
                {
                    let error = failure { () throws(Errno) in
                        try machine.migrate(buffer, to: target, account: account)
                    }
                    #expect(error == .interrupted)
                },
                { account.cancel() },
            ])
            #expect(ContinuousClock.now - start < .seconds(1))
            #expect(machine.pages(of: buffer) == before)
            #expect(machine.runs(of: buffer).allSatisfy { !$0.isMigrating })
            try device.queue.setLatency(0)
            #expect(device.queue.waitUntilIdle(seconds: 60))
            try machine.migrate(buffer, to: target)
            #expect(machine.pages(of: buffer) == [target: 64])
            try machine.checkInvariants()
        }
        #expect(first.mmu.figures.mapped == 0)
    }
}
