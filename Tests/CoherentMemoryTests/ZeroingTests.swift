import MachineTopology
import Testing

@testable import CoherentMemory

/// A frame that one buffer gives back reads as zeros in the next, whichever way it went.
@Suite("Zeroing")
struct ZeroingTests {
    private enum Way: CaseIterable {
        case removal, truncation, punching, migration, offlining, undoneAllocation
    }

    @Test("Old bytes over thousands of reuses")
    func reuse() throws {
        let machine = try Machine(ram: 4, coherent: [2], isolation: .none)
        var random = SplitMix64(seed: 3)
        let pages = 600
        let stale = [UInt8](repeating: 0xbd, count: pages << 12)
        let expected = [1] + [UInt8](repeating: 0, count: 4095)
        var reused = 0
        for round in 0..<48 {
            let old = try machine.makeBuffer(round.isMultiple(of: 2) ? "default" : "interleave:0-1")
            try machine.store(stale, to: old, at: 0)
            // Something in between, so that runs break up.
            let other = machine.makeBuffer()
            try machine.store([UInt8](repeating: 0xbe, count: 20 << 12), to: other, at: 0)
            switch Way.allCases[round % Way.allCases.count] {
            case .removal: machine.remove(old)
            case .truncation: try machine.resize(old, to: 1)
            case .punching:
                for page in UInt64(0)..<UInt64(pages) where !page.isMultiple(of: 5) {
                    machine.punch(old, bytes: page << 12..<(page + 1) << 12)
                }
            case .migration: try? machine.migrate(old, bytes: 0..<500 << 12, to: 1)
            case .offlining:
                try? machine.offline(machine.block(0)!)
                if machine.block(0)!.state == .offline { try machine.online(machine.block(0)!) }
            case .undoneAllocation:
                #expect(
                    throws: (any Error).self,
                    performing: {
                        try machine.allocate(other, bytes: 0..<1 << 30, keepsSize: true, origin: onNode0)
                    })
            }
            let fresh = machine.makeBuffer()
            let free = machine.nodes.map(\.usage.free).reduce(0, +)
            let count = Int.random(in: 1...free, using: &random)
            try machine.resize(fresh, to: UInt64(count) << 12)
            // The store at the start of each page gives it a frame of its own, the rest of which must be zeros.
            for page in 0..<UInt64(count) { try machine.store([1], to: fresh, at: page << 12) }
            for page in 0..<UInt64(count) {
                let bytes = try machine.bytes(of: fresh, at: page << 12, count: 4096)
                if bytes != expected { Issue.record("round \(round): old bytes in page \(page)") }
            }
            reused += count
            for buffer in machine.buffers where buffer.fixedSize == nil { machine.remove(buffer) }
            try machine.checkInvariants()
        }
        #expect(reused > 10_000)
    }

    @Test("What is cut off within a page is zeros when the buffer grows again")
    func tails() throws {
        let machine = try Machine(ram: 2, coherent: [2])
        let buffer = machine.makeBuffer()
        try machine.store([UInt8](repeating: 7, count: 8192), to: buffer, at: 0)
        try machine.resize(buffer, to: 5000)
        try machine.resize(buffer, to: 8192)
        let bytes = try machine.bytes(of: buffer, at: 0, count: 8192)
        #expect(bytes == [UInt8](repeating: 7, count: 5000) + [UInt8](repeating: 0, count: 3192))
        machine.punch(buffer, bytes: 100..<200)
        machine.punch(buffer, bytes: 4000..<4200)
        let punched = try machine.bytes(of: buffer, at: 0, count: 8192)
        for (place, byte) in punched.enumerated() {
            let isHole = (100..<200).contains(place) || (4000..<4200).contains(place) || place >= 5000
            #expect(byte == (isHole ? 0 : 7), "\(place)")
        }
        #expect(buffer.residentPages == 2)
    }
}
