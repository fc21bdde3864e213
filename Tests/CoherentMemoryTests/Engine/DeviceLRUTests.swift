import LinuxSupport
import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

@Suite("Pages that a device uses")
struct DeviceLRUTests {
    @Test("are demoted only when it has not used them for a while")
    func demotion() throws {
        let machine = try Machine(ram: 16, coherent: [8], isolation: .none)
        let device = machine.devices[0]
        let buffer = try machine.makeBuffer("prefer:0", size: 64 * 4096)
        try machine.store([UInt8](repeating: 1, count: 64 * 4096), to: buffer, at: 0)
        // What the CPU has stored is in its cache, until somebody takes it out.
        for _ in 0..<2 { try machine.run(.read(try buffer.pages(0..<16))) }
        try machine.run(.read(try buffer.pages(16..<24)))
        #expect(device.mmu.figures.active == 16)
        #expect(device.mmu.figures.inactive == 8)
        #expect(device.mmu.figures.referenced == 8)
        machine.unmapFromPageCache(buffer)
        let (ram, memory) = (machine.nodes[0], machine.nodes[1])
        #expect(try machine.reclaim(40, of: ram, demotingTo: [memory], waitForUse: {}) == 40)
        #expect(machine.pages(of: buffer) == [0: 24, 1: 40])
        #expect(device.mmu.figures.mapped == 24)
        // In use again while others age.
        for _ in 0..<2 { try machine.run(.read(try buffer.pages(0..<4))) }
        #expect(try machine.reclaim(20, of: ram, demotingTo: [memory], waitForUse: {}) == 20)
        #expect(machine.pages(of: buffer) == [0: 4, 1: 60])
        #expect(device.mmu.figures.mapped == 4)
        machine.unmapAll(buffer)
        #expect(try machine.bytes(of: buffer, at: 0, count: 64 * 4096).allSatisfy { $0 == 1 })
        try machine.checkInvariants()
    }
}

extension Machine {
    /// As if the kernel had dropped all pages of a buffer, and the scanner had seen it.
    func unmapFromPageCache(_ buffer: Buffer) {
        buffer.state.withLock { state in
            state.pages.update(0..<Page.count(of: state.size)) { $1.isCached = false }
        }
    }
}
