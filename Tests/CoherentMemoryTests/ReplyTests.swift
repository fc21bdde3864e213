import Foundation
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// A reply is read out of the storage itself: until it is sent, nobody else may get the place.
@Suite("Replies in flight")
struct ReplyTests {
    private let machine: Machine
    private let buffer: Buffer
    private let size = 64 * 4096

    init() throws {
        machine = try Machine(ram: 2, coherent: [2])
        buffer = machine.makeBuffer()
        try machine.store([UInt8](repeating: 0x5a, count: size), to: buffer, at: 0)
    }

    /// Does `change` while a reply is being read, fills all memory with other bytes, and looks at the reply.
    ///
    /// - Parameter cut: whether what the change takes away may read as zeros.
    private func whileReading(cut: Bool = false, _ change: () throws -> Void) throws {
        var thrown: (any Error)?
        var seen: [UInt8] = []
        try unsafe machine.read(buffer, at: 0, length: size, origin: onNode0) { vectors in
            do {
                try change()
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
        let isIntact = seen.allSatisfy { $0 == 0x5a || cut && $0 == 0 }
        #expect(isIntact && seen.count == size)
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
        try whileReading(cut: true) { try machine.resize(buffer, to: 4096) }
        #expect(machine.pages(of: buffer) == [0: 1])
    }

    @Test func punching() throws { try whileReading { machine.punch(buffer, bytes: 0..<UInt64(size)) } }

    @Test func punchingPart() throws {
        try whileReading(cut: true) { machine.punch(buffer, bytes: 8192..<UInt64(size)) }
    }

    @Test func removal() throws { try whileReading { machine.remove(buffer) } }

    @Test("What failed keeps its bytes for the reply, never zeros; whoever has the page next reads zeros")
    func poison() throws {
        try whileReading { try machine.poison(buffer, bytes: 0..<UInt64(size), origin: onNode0) }
        #expect(buffer.residentPages == 0)
        machine.punch(buffer, bytes: 0..<UInt64(size))
        try machine.store([1], to: buffer, at: 5000)
        let bytes = try machine.bytes(of: buffer, at: 4096, count: 4096)
        #expect(bytes.enumerated().allSatisfy { $1 == ($0 == 904 ? 1 : 0) })
        try machine.checkInvariants()
    }

    @Test("Two replies read the same place; the last one lets it go")
    func twoReplies() throws {
        try unsafe machine.read(buffer, at: 0, length: size, origin: onNode0) { _ in
            _ = try? unsafe machine.read(buffer, at: 0, length: 4096, origin: onNode0) { _ in
                machine.punch(buffer, bytes: 0..<UInt64(size))
            }
            #expect(machine.nodes[0].usage.allocated == 0 && machine.memory.tables.inUse == 1)
        }
        #expect(machine.memory.tables.inUse == 0)
        try machine.checkInvariants()
    }

    @Test("A block goes offline whether a reply is out or not")
    func offline() throws {
        let machine = try Machine(ram: 4, coherent: [2])
        let buffer = machine.makeBuffer()
        try machine.store([UInt8](repeating: 0x5a, count: 4096), to: buffer, at: 0)
        let block = try #require(
            machine.block(machine.runs(of: buffer)[0].physicalAddress / machine.topology.blockSize))
        try unsafe machine.read(buffer, at: 0, length: 4096, origin: onNode0) { vectors in
            #expect(failure { () throws(Errno) in try machine.offline(block) } == nil)
            #expect(unsafe Machine.gather(vectors) == [UInt8](repeating: 0x5a, count: 4096))
        }
        #expect(block.state == .offline)
        try machine.checkInvariants()
    }

    /// How many stretches of storage are used and given up; `CDMFS_STORAGE_REUSES` asks for more, such as a million.
    private static let reuses = ProcessInfo.processInfo.environment["CDMFS_STORAGE_REUSES"].flatMap(Int.init) ?? 6000

    @Test("No byte of one buffer is seen in another, of any size, while replies are out", .timeLimit(.minutes(60)))
    func reuse() throws {
        let machine = try Machine(ram: 24, coherent: [8], isolation: .none)
        let problems = Mutex<[String]>([])
        let used = Atomic(0)
        runThreads(
            (1...4).map { mark in
                {
                    var random = SplitMix64(seed: UInt64(mark))
                    var round = 0
                    while used.load(ordering: .relaxed) < Self.reuses {
                        do {
                            let (stretches, problem) = try Self.useOnce(machine, mark: UInt8(mark), &random)
                            used.wrappingAdd(stretches, ordering: .relaxed)
                            if let problem {
                                problems.withLock { $0.append("\(mark), round \(round): \(problem)") }
                            }
                        } catch {
                            // No room, for the others have it: what was used was given up all the same.
                            used.wrappingAdd(1, ordering: .relaxed)
                        }
                        round += 1
                    }
                }
            })
        #expect(used.load(ordering: .relaxed) >= Self.reuses)
        #expect(problems.withLock { $0 }.isEmpty, "\(problems.withLock { $0.prefix(5) })")
        for buffer in machine.buffers where buffer.fixedSize == nil { machine.remove(buffer) }
        #expect(machine.memory.tables.inUse == 0)
        try machine.checkInvariants()
    }

    /// Fills a buffer with marks of its own, gives it up while a reply of it is out, and looks at what that reads.
    ///
    /// - Returns: how many stretches of storage it had, one a table, and what is wrong, if anything is.
    private static func useOnce(
        _ machine: Machine, mark: UInt8, _ random: inout SplitMix64
    ) throws -> (stretches: Int, problem: String?) {
        let buffer = machine.makeBuffer()
        defer { machine.remove(buffer) }
        let pages = random.oneIn(3) ? 1 : Int.random(in: 1...(random.oneIn(4) ? 300 : 40), using: &random)
        let size = pages << 12
        try machine.resize(buffer, to: UInt64(size))
        let (marks, zeros) = ([UInt8](repeating: mark, count: 4096), [UInt8](repeating: 0, count: 4096))
        // A byte at the start of a page gives it its place, the rest of which must be zeros.
        for page in 0..<pages where random.oneIn(8) {
            try machine.store([mark], to: buffer, at: UInt64(page) << 12)
            let bytes = try machine.bytes(of: buffer, at: UInt64(page) << 12 + 1, count: 4095)
            if bytes != Array(zeros.dropFirst()) { return (1, "old bytes in page \(page)") }
        }
        try machine.store([UInt8](repeating: mark, count: size), to: buffer, at: 0)
        let way = Int.random(in: 0..<4, using: &random)
        let cut = Int.random(in: 0..<size, using: &random)
        var problem: String?
        try unsafe machine.read(buffer, at: 0, length: size, origin: onNode0) { vectors in
            switch way {
            case 0: machine.remove(buffer)
            case 1: machine.punch(buffer, bytes: UInt64(cut)..<UInt64(size))
            case 2: try? machine.resize(buffer, to: UInt64(cut))
            default: try? machine.migrate(buffer, to: Int(cut & 1))
            }
            sched_yield()
            let seen = unsafe Machine.gather(vectors)
            for page in 0..<pages {
                let part = Array(seen[page << 12..<(page + 1) << 12])
                if part == marks { continue }
                let mayBeCut = way == 1 || way == 2
                if mayBeCut, part == zeros || part.allSatisfy({ $0 == mark || $0 == 0 }) { continue }
                problem = "way \(way): page \(page) reads \(part[0])"
            }
        }
        return ((pages - 1) / TablePool.entries + 1, problem)
    }
}
