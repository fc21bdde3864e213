import SystemPackage
import Testing

@testable import CoherentMemory

@Suite("Policies of touch")
struct AccessPolicyTests {
    @Test("move a page to the device after some faults of it, and back after some of the CPU")
    func thrashing() throws {
        let machine = try Machine(ram: 16, coherent: [8])
        let device = machine.devices[0]
        let buffer = machine.makeBuffer()
        try machine.resize(buffer, to: 8 * 4096)
        let cache = PageCache(machine, mapping: [buffer])
        func touch(_ pages: Range<Int>) {
            for page in pages {
                cache.touch(buffer, page: page) { bytes in
                    bytes[0] &+= 1; return ((), stored: true)
                }
            }
        }
        touch(0..<8)
        for _ in 0..<5 {
            try machine.run(.read(try buffer.pages(0..<4)))
            touch(0..<4)
        }
        // Off by default.
        #expect(machine.pages(of: buffer) == [0: 8])
        #expect(throws: Errno.outOfRange) { try device.policy.setDeviceFaults(1001) }
        try device.policy.setDeviceFaults(3)
        for round in 1...3 {
            try machine.run(.read(try buffer.pages(0..<4)))
            #expect(machine.pages(of: buffer) == (round == 3 ? [0: 4, 1: 4] : [0: 8]))
            if round < 3 { touch(0..<4) }
        }
        #expect(device.policy.moved == (toDevice: 4, toCPU: 0))
        try device.policy.setCPUFaults(2)
        for _ in 0..<2 {
            try machine.run(.write(try buffer.pages(0..<4)))
            touch(0..<4)
        }
        #expect(device.queue.waitUntilIdle(seconds: 60))
        #expect(machine.pages(of: buffer) == [0: 8])
        #expect(device.policy.moved == (toDevice: 4, toCPU: 4))
        #expect(cache.touch(buffer, page: 0) { ($0[0], stored: false) } == 10)
        // Who said where pages are to be keeps them there.
        try machine.setPolicy(MemoryPolicy(parsing: "bind:0", available: machine.nodesWithMemory), of: buffer)
        for _ in 0..<5 {
            try machine.run(.read(try buffer.pages(0..<4)))
            touch(0..<4)
        }
        #expect(machine.pages(of: buffer) == [0: 8])
        try machine.checkInvariants()
    }
}
