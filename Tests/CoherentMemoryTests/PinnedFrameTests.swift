import Glibc
import SystemPackage
import Testing

@testable import CoherentMemory

/// A reply is read out of the frames themselves: until it is sent, nobody else may get them.
@Suite("Frames that a reply reads")
struct PinnedFrameTests {
    private let machine: Machine
    private let buffer: Buffer
    private let size = 64 * 4096

    init() throws {
        machine = try Machine(ram: 2, coherent: [2])
        buffer = machine.makeBuffer()
        try machine.store([UInt8](repeating: 0x5a, count: size), to: buffer, at: 0)
    }

    /// Does `change` while a reply is being read, fills all memory with other bytes, and looks at the reply.
    private func whileReading(_ change: () throws -> Void) throws {
        let allocated = machine.nodes.map(\.usage.allocated).reduce(0, +)
        var thrown: (any Error)?
        var seen: [UInt8] = []
        try unsafe machine.read(buffer, at: 0, length: size, origin: onNode0) { vectors in
            do {
                try change()
                // Still held by this reply, whatever became of the pages.
                #expect(machine.nodes.map(\.usage.allocated).reduce(0, +) >= allocated)
                let other = machine.makeBuffer()
                for node in machine.nodes {
                    try machine.setPolicy(.bind(node.id), of: other)
                    while (try? machine.store([UInt8](repeating: 0xee, count: 65536), to: other, at: other.size)) != nil
                    {}
                    #expect(node.usage.free == 0)
                }
                machine.remove(other)
            } catch {
                thrown = error
            }
            seen = unsafe Machine.gather(vectors)
        }
        if let thrown { throw thrown }
        // Not in the expectation itself, which would look for the shortest way from the one to the other.
        let isIntact = seen == [UInt8](repeating: 0x5a, count: size)
        #expect(isIntact)
        try machine.checkInvariants()
        let pages = machine.buffers.contains { $0 === buffer } ? buffer.residentPages : 0
        #expect(machine.nodes.map(\.usage.allocated).reduce(0, +) == pages)
    }

    @Test func migration() throws {
        try whileReading { try machine.migrate(buffer, to: 1) }
        #expect(machine.pages(of: buffer) == [1: 64])
    }

    @Test func thereAndBack() throws {
        try whileReading {
            try machine.migrate(buffer, to: 1)
            try machine.migrate(buffer, to: 0)
        }
        #expect(machine.pages(of: buffer) == [0: 64])
    }

    @Test func truncation() throws {
        try whileReading { try machine.resize(buffer, to: 4096) }
        #expect(machine.pages(of: buffer) == [0: 1])
    }

    @Test func punching() throws { try whileReading { machine.punch(buffer, bytes: 0..<UInt64(size)) } }

    @Test func removal() throws { try whileReading { machine.remove(buffer) } }

    @Test("Two replies read the same frames; the last one lets them go")
    func twoReplies() throws {
        try unsafe machine.read(buffer, at: 0, length: size, origin: onNode0) { _ in
            _ = try? unsafe machine.read(buffer, at: 0, length: 4096, origin: onNode0) { _ in
                machine.punch(buffer, bytes: 0..<UInt64(size))
            }
            #expect(machine.nodes[0].usage.allocated == 64)
        }
        #expect(machine.nodes[0].usage.allocated == 0)
        try machine.checkInvariants()
    }

    @Test("A block goes offline only when the reply is out", .timeLimit(.minutes(1)))
    func offline() throws {
        let machine = try Machine(ram: 4, coherent: [2])
        let buffer = machine.makeBuffer()
        try machine.store([UInt8](repeating: 0x5a, count: 4096), to: buffer, at: 0)
        let block = try #require(
            machine.block(machine.runs(of: buffer)[0].physicalAddress / machine.topology.blockSize))
        // Offlining waits for it, and can be interrupted in that.
        try unsafe machine.read(buffer, at: 0, length: 4096, origin: onNode0) { _ in
            var patience = 20
            let error = failure { () throws(Errno) in
                try machine.offline(
                    block,
                    isCancelled: {
                        patience -= 1
                        return patience == 0
                    })
            }
            #expect(error == .interrupted)
            #expect(block.state == .online)
        }
        // Once the reply is out, it goes on.
        try machine.migrate(buffer, bytes: 0..<4096, to: 1)
        try machine.migrate(buffer, bytes: 0..<4096, to: 0)
        let number = machine.runs(of: buffer)[0].physicalAddress / machine.topology.blockSize
        let held = try #require(machine.block(number))
        let (isReading, isIsolated) = (Gate(), Gate())
        machine.setObserver { event in if event == .block(number, .goingOffline) { isIsolated.open() } }
        runThreads([
            {
                try? unsafe machine.read(buffer, at: 0, length: 4096, origin: onNode0) { vectors in
                    isReading.open()
                    isIsolated.wait()
                    #expect(unsafe Machine.gather(vectors) == [UInt8](repeating: 0x5a, count: 4096))
                }
            },
            {
                isReading.wait()
                #expect(failure { () throws(Errno) in try machine.offline(held) } == nil)
            },
        ])
        #expect(held.state == .offline)
        try machine.checkInvariants()
    }
}
