import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

@Suite("MMU of a device")
struct DeviceMMUTests {
    private func scene() throws -> (machine: Machine, buffer: Buffer, cache: PageCache, device: Device) {
        let machine = try Machine(ram: 16, coherent: [8, 8], isolation: .none)
        let buffer = try machine.makeBuffer("bind:0", size: 64 * 4096)
        return (machine, buffer, PageCache(machine, mapping: [buffer]), machine.devices[0])
    }

    @Test("is filled by faults, and knows what was used and stored to")
    func faults() throws {
        let (machine, buffer, cache, device) = try scene()
        try machine.run(.read(try buffer.pages(0..<4)))
        #expect(device.mmu.figures == .init(contexts: 1, mapped: 4, accessed: 4, referenced: 4, faults: 4))
        try machine.run(.read(try buffer.pages(0..<4)))
        #expect(device.mmu.figures.faults == 4)
        #expect(device.mmu.figures.active == 4)
        // A write fault each.
        try machine.run(.write(try buffer.pages(2..<4)))
        #expect(device.mmu.figures.faults == 6)
        #expect(device.mmu.figures.dirty == 2)
        // The CPU takes one back.
        cache.touch(buffer, page: 3) { _ in ((), stored: false) }
        #expect(device.mmu.figures.mapped == 3)
        #expect(device.mmu.figures.dirty == 1)
        #expect(device.mmu.figures.invalidations == 1)
        for page in 0..<3 { cache.touch(buffer, page: page) { _ in ((), stored: false) } }
        #expect(device.mmu.figures == .init(faults: 6, invalidations: 4))
        try machine.checkInvariants()
    }

    @Test("asks for several pages back at once only where it has them all")
    func recall() throws {
        let (machine, buffer, _, device) = try scene()
        try machine.run(.write(try buffer.pages(0..<4)))
        try machine.store([1], to: buffer, at: 5 * 4096)
        let read = { (pages: Range<UInt64>) -> Result<[UInt8], Errno> in
            outcome { () throws(Errno) in
                try machine.bytes(of: buffer, at: pages.lowerBound * 4096, count: pages.count * 4096)
            }
        }
        #expect(read(0..<4) == .failure(.resourceTemporarilyUnavailable))
        #expect(machine.recall(buffer, at: 0, length: 6 * 4096) {} == .pagewise)
        #expect(machine.recall(buffer, at: 5 * 4096, length: 4096) {} == .done)
        let gate = Gate()
        #expect(machine.recall(buffer, at: 0, length: 4 * 4096) { gate.open() } == .underWay)
        gate.wait()
        #expect(read(0..<4) == .success([UInt8](repeating: 0, count: 4 * 4096)))
        #expect(device.mmu.figures.mapped == 0)
        // Where no page is locked, it may wait all the same.
        try machine.run(.write(try buffer.pages(0..<4)))
        #expect(machine.recall(buffer, at: 0, length: 6 * 4096, isLocked: false) { gate.open() } == .underWay)
        gate.wait()
    }

    @Test("gives pages to a write at once where some of its pages are cached")
    func writing() throws {
        let (machine, buffer, _, device) = try scene()
        try machine.run(.write(try buffer.pages(0..<2)))
        func write(_ bytes: Int, waits: Bool) -> Errno? {
            failure { () throws(Errno) in
                let bytes = [UInt8](repeating: 9, count: bytes)
                let result = unsafe bytes.withUnsafeBytes { raw in
                    outcome { () throws(Errno) in
                        try unsafe machine.write(
                            raw, to: buffer, at: 0, origin: onNode0, isGrowing: true, waitsForDevices: waits)
                    }
                }
                _ = try result.get()
            }
        }
        #expect(write(4 * 4096, waits: true) == .resourceTemporarilyUnavailable)
        #expect(buffer.counters.write == 0)
        try machine.store([1], to: buffer, at: 3 * 4096)
        #expect(write(4 * 4096, waits: true) == nil)
        #expect(device.mmu.figures.mapped == 0)
        try machine.checkInvariants()
    }

    @Test("waits its turn in the queue when the CPU takes a page back, and nobody else waits")
    func latency() throws {
        let (machine, buffer, cache, device) = try scene()
        try machine.run(.fill(try buffer.pages(0..<1), 5))
        cache.touch(buffer, page: 9) { _ in ((), stored: true) }
        try device.queue.setLatency(200_000_000)
        let start = ContinuousClock.now
        let unrelated = Mutex(Duration.zero)
        runThreads([
            {
                #expect(cache.touch(buffer, page: 0) { ($0[0], stored: false) } == 5)
                #expect(ContinuousClock.now - start >= .milliseconds(200))
            },
            {
                for page in 10..<20 { cache.touch(buffer, page: page) { _ in ((), stored: true) } }
                unrelated.withLock { $0 = .now - start }
            },
        ])
        #expect(unrelated.withLock { $0 } < .milliseconds(200))
        try machine.checkInvariants()
    }

    @Test("lets pages go that move, but not those of the command under way")
    func migration() throws {
        let (machine, buffer, _, device) = try scene()
        try machine.run(.fill(try buffer.pages(0..<64), 5))
        try machine.migrate(buffer, to: 1)
        #expect(device.mmu.figures.mapped == 0)
        #expect(machine.pages(of: buffer) == [1: 64])
        // A command that has its pages written back is under way.
        let (reached, goOn) = (Gate(), Gate())
        final class Stopper: MappingInvalidator {
            let reached: Gate
            let goOn: Gate
            let isOver = Atomic(false)
            init(_ reached: Gate, _ goOn: Gate) { (self.reached, self.goOn) = (reached, goOn) }
            func invalidate(_ buffer: Buffer, pages: Range<UInt64>) {}
            func writeBack(_ buffer: Buffer, pages: Range<UInt64>, next: Range<UInt64>) {
                guard !isOver.exchange(true, ordering: .relaxed) else { return }
                reached.open()
                goOn.wait()
            }
        }
        machine.setInvalidator(Stopper(reached, goOn))
        _ = try machine.bytes(of: buffer, at: 8 * 4096, count: 40 * 4096)
        try machine.submit([.fill(try buffer.pages(8..<48), 6)], to: device)
        reached.wait()
        #expect(failure { () throws(Errno) in try machine.migrate(buffer, to: 0) } == .resourceBusy)
        #expect(machine.pages(of: buffer) == [0: 24, 1: 40])
        goOn.open()
        #expect(device.queue.waitUntilIdle(seconds: 60))
        try machine.migrate(buffer, to: 0)
        #expect(machine.pages(of: buffer) == [0: 64])
        machine.unmapAll(buffer)
        let bytes = try machine.bytes(of: buffer, at: 0, count: 64 * 4096)
        #expect(bytes.enumerated().allSatisfy { $1 == ((8..<48).contains($0 / 4096) ? 6 : 5) })
        try machine.checkInvariants()
    }

    @Test("keeps the frames of pages that went until it has let go of them")
    func dropped() throws {
        let (machine, buffer, _, device) = try scene()
        let free = machine.nodes[0].usage.free
        try machine.run(.fill(try buffer.pages(0..<8), 5), .fence)
        try machine.run(.read(try buffer.pages(0..<4)), on: machine.devices[1])
        #expect(machine.nodes[0].usage.free == free - 8)
        try device.queue.setLatency(300_000_000)
        machine.punch(buffer, bytes: 0..<16384)
        #expect(device.mmu.figures.mapped == 4)
        #expect(machine.devices[1].mmu.figures.mapped == 0)
        #expect(machine.nodes[0].usage.free == free - 8)
        #expect(device.queue.waitUntilIdle(seconds: 60))
        #expect(machine.devices[1].queue.waitUntilIdle(seconds: 60))
        #expect(machine.nodes[0].usage.free == free - 4)
        #expect(try machine.bytes(of: buffer, at: 0, count: 4096).allSatisfy { $0 == 0 })
        try device.queue.setLatency(0)
        machine.remove(buffer)
        #expect(device.queue.waitUntilIdle(seconds: 60))
        #expect(machine.nodes[0].usage.free == free)
        #expect(device.mmu.figures.contexts == 0)
        try machine.checkInvariants()
    }

    @Test("shares pages with other devices until one takes them for itself")
    func exclusive() throws {
        let (machine, buffer, _, first) = try scene()
        let second = machine.devices[1]
        let page = try buffer.pages(0..<1)
        try machine.run(.fill(page, 1))
        try machine.run(.fill(page, 2), on: second)
        #expect(first.mmu.figures.mapped == 1)
        #expect(second.mmu.figures.mapped == 1)
        try machine.run(.exclusive(page))
        #expect(first.mmu.figures.mapped == 1)
        #expect(second.mmu.figures.mapped == 0)
        let result = try machine.run(.crc32(page), on: second)
        #expect(first.mmu.figures.mapped == 0)
        #expect(try machine.run(.crc32(page)).map(\.value) == result.map(\.value))
        try machine.checkInvariants()
    }
}
