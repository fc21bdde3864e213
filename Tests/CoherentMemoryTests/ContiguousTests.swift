import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// The page cache, with `body` called whenever pages are about to leave it.
private final class Interposed: MappingInvalidator {
    private let cache: PageCache
    private let body: @Sendable (Range<UInt64>) -> Void

    init(_ machine: Machine, _ cache: PageCache, _ body: @escaping @Sendable (Range<UInt64>) -> Void) {
        self.cache = cache
        self.body = body
        machine.setInvalidator(self)
    }

    func invalidate(_ buffer: Buffer, pages: Range<UInt64>) {
        body(pages)
        cache.invalidate(buffer, pages: pages)
    }
}

/// Buffers in the share that a node sets aside for contiguous ones.
@Suite("Contiguous buffers")
struct ContiguousTests {
    @Test("Random walks beside a model that looks at every frame", arguments: 1...6)
    func walk(seed: UInt64) throws {
        var walk = try ContiguousWalk(seed: seed)
        for _ in 0..<80 { try walk.step() }
        try walk.finish()
    }

    private func machine(isolation: Isolation = .exclusive) throws -> Machine {
        try Machine(ram: 8, coherent: [8, 4], contiguous: 4, isolation: isolation)
    }

    private func make(_ machine: Machine, pages: UInt64, on node: Int = 1) throws -> Buffer {
        let buffer = try machine.makeBuffer("default", size: pages * 4096)
        try machine.makeContiguous(buffer, on: node)
        return buffer
    }

    @Test("A run of any length, aligned to its own order up to 1 MiB, out of the stretch that it leaves least of")
    func fitting() throws {
        let machine = try machine()
        // RAM has 2048 frames, and the share begins 1024 frames behind.
        func start(_ buffer: Buffer) -> Int { Int(machine.contiguousRange(of: buffer)!.physicalAddress >> 12) - 3072 }
        let first = try make(machine, pages: 3)
        let second = try make(machine, pages: 5)
        let third = try make(machine, pages: 300)
        #expect([first, second, third].map(start) == [0, 8, 256])
        #expect(machine.node(1)!.usage.contiguous == ContiguousUsage(total: 1024, free: 716, largest: 468))
        // 3 to 8, 13 to 256 and 556 to 1024 are free.
        #expect(try start(make(machine, pages: 4)) == 4)
        #expect(try start(make(machine, pages: 200)) == 768)
        machine.remove(third)
        #expect(machine.node(1)!.usage.contiguous.largest == 755)
        try machine.checkInvariants()
    }

    @Test("Refusals change nothing")
    func errors() throws {
        let machine = try machine()
        func failure(_ buffer: Buffer, on node: Int = 1, by task: Int32 = 0) -> Errno? {
            CoherentMemoryTests.failure { () throws(Errno) in try machine.makeContiguous(buffer, on: node, by: task) }
        }
        let buffer = machine.makeBuffer()
        #expect(failure(buffer) == .invalidArgument)
        try machine.resize(buffer, to: 5 << 20)
        #expect(failure(buffer, on: 9) == .operationNotSupportedByDevice && failure(buffer, on: 0) == .invalidArgument)
        #expect(failure(buffer) == .noMemory)
        // Node 2 has all its memory in the share.
        #expect(failure(buffer, on: 2) == .noMemory)
        try machine.resize(buffer, to: UInt64(Int64.max))
        #expect(failure(buffer) == .noMemory)
        try machine.resize(buffer, to: 1 << 20)
        try machine.store([1], to: buffer, at: 0)
        #expect(failure(buffer) == .resourceBusy)
        machine.punch(buffer, bytes: 0..<4096)
        #expect(failure(machine.devices[0].memory) == .notPermitted)
        try machine.setIsolation(.restricted, of: machine.node(1)!)
        #expect(failure(buffer, by: 4711) == .notPermitted)
        try machine.setIsolation(.driver, of: machine.node(1)!)
        #expect(failure(buffer) == .notPermitted)
        try machine.setIsolation(.exclusive, of: machine.node(1)!)
        #expect(buffer.residentPages == 0 && failure(buffer) == nil && failure(buffer) == .resourceBusy)
        #expect(throws: Errno.resourceBusy) { try machine.setIsolation(.driver, of: machine.node(1)!) }
        let reserved = try machine.makeBuffer("default", size: 2 << 20)
        try machine.setHugeMode(.pool, of: reserved)
        #expect(failure(reserved) == .invalidArgument)
        try machine.checkInvariants()
    }

    @Test("The size is sealed and holes are zeroed in place")
    func sealed() throws {
        let machine = try machine()
        let buffer = try machine.makeBuffer("default", size: 5000)
        try machine.makeContiguous(buffer, on: 1)
        let range = machine.contiguousRange(of: buffer)
        #expect(range?.length == 8192)
        for size: UInt64 in [0, 4999, 5001, 1 << 20] {
            #expect(throws: Errno.notPermitted) { try machine.resize(buffer, to: size) }
        }
        try machine.resize(buffer, to: 5000)
        #expect(try machine.store([1, 2, 3], to: buffer, at: 4997) == 3)
        #expect(throws: Errno.notPermitted) { try machine.store([1], to: buffer, at: 5000) }
        #expect(throws: Errno.notPermitted) { try machine.store([1, 2], to: buffer, at: 4999) }
        func allocate(_ bytes: Range<UInt64>, keepsSize: Bool) throws(Errno) {
            try machine.allocate(buffer, bytes: bytes, keepsSize: keepsSize, origin: onNode0)
        }
        try allocate(0..<8192, keepsSize: true)
        #expect(throws: Errno.notPermitted) { try allocate(0..<5001, keepsSize: false) }
        #expect(throws: Errno.notPermitted) { try allocate(8192..<12288, keepsSize: true) }
        machine.punch(buffer, bytes: 4998..<1 << 40)
        #expect(try machine.bytes(of: buffer, at: 4996, count: 10) == [0, 1, 0, 0])
        #expect(machine.contiguousRange(of: buffer) == range && buffer.residentPages == 2 && buffer.size == 5000)
        try machine.checkInvariants()
        machine.remove(buffer)
        #expect(machine.node(1)!.usage.contiguous.free == 1024)
    }

    @Test("A device with a contiguous buffer cannot go; one that comes back has its share again")
    func device() throws {
        let machine = try machine()
        let buffer = try make(machine, pages: 600)
        let crowd = try make(machine, pages: 500, on: 2)
        #expect(throws: Errno.resourceBusy) { try machine.remove(machine.devices[0], isForced: true) }
        machine.remove(crowd)
        #expect(machine.node(1)!.usage.contiguous.total == 1024)
        try machine.releaseContiguous(buffer)
        try machine.remove(machine.devices[0], isForced: true)
        #expect(machine.node(1)!.usage.contiguous == ContiguousUsage())
        #expect(throws: Errno.operationNotSupportedByDevice) { try machine.makeContiguous(buffer, on: 1) }
        machine.autoOnline = .online
        try machine.rescan()
        #expect(machine.node(1)!.usage.contiguous == ContiguousUsage(total: 1024, free: 1024, largest: 1024))
        try machine.makeContiguous(buffer, on: 1)
        try machine.checkInvariants()
    }

    @Test("A move is all or nothing, and what stands in its way leaves all as it was")
    func outcomes() throws {
        for what in ["full", "pinned", "cancelled", "removed"] {
            let machine = try machine()
            // Else nothing is unmapped.
            for device in machine.devices { device.pace = .real }
            let buffer = try make(machine, pages: 1020)
            let cache = PageCache(machine, mapping: [buffer])
            for page in stride(from: 0, to: 1020, by: 3) {
                _ = cache.touch(buffer, page: page) { bytes in
                    bytes[0] = UInt8(page % 251)
                    return ((), stored: true)
                }
            }
            let place = machine.contiguousRange(of: buffer)
            let other = what == "full" ? try make(machine, pages: 8, on: 2) : nil
            let seen = Atomic(0)
            let hook = Interposed(machine, cache) { _ in
                guard seen.add(1, ordering: .relaxed).newValue == 2 else { return }
                switch what {
                case "pinned": try? machine.setPinned(true, of: buffer)
                case "cancelled": buffer.cancelMigrations()
                case "removed": machine.remove(buffer)
                default: break
                }
            }
            let error = failure { () throws(Errno) in try machine.migrate(buffer, to: 2) }
            switch what {
            case "full":
                #expect(error == .noMemory && buffer.migration.state == .failed && buffer.migration.failed == 1020)
                #expect(seen.load(ordering: .relaxed) == 0, "unmapped in vain")
            case "pinned": #expect(error == .resourceBusy && buffer.migration.failed == 1020)
            case "cancelled": #expect(error == .interrupted && buffer.migration.state == .cancelled)
            default: #expect(error == nil && buffer.residentPages == 0)
            }
            if what != "removed" {
                #expect(machine.contiguousRange(of: buffer) == place && machine.pages(of: buffer) == [1: 1020])
                for page in stride(from: 0, to: 1020, by: 3) {
                    #expect(cache.touch(buffer, page: page) { ($0[0], stored: false) } == UInt8(page % 251))
                }
                try machine.checkInvariants()
                machine.remove(buffer)
            }
            if let other { machine.remove(other) }
            withExtendedLifetime(hook) {}
            try machine.checkInvariants()
            for node in machine.nodes.dropFirst() { #expect(node.usage.contiguous.free == 1024, "\(what)") }
        }
    }

    @Test("Programs go on storing while it moves to and fro, and lose nothing", .timeLimit(.minutes(2)))
    func moving() throws {
        let machine = try machine()
        let pages = 700
        let buffer = try make(machine, pages: UInt64(pages))
        let cache = PageCache(machine, mapping: [buffer])
        let stored = Mutex([[Int]](repeating: Array(repeating: 0, count: pages), count: 2))
        let isOver = Atomic(false)
        let writers = (0..<2).map { index in
            {
                var random = SplitMix64(seed: UInt64(index + 1))
                while !isOver.load(ordering: .relaxed) {
                    let page = Int.random(in: 0..<pages, using: &random)
                    _ = cache.touch(buffer, page: page) { bytes in
                        bytes[index] &+= 1
                        return ((), stored: true)
                    }
                    stored.withLock { $0[index][page] += 1 }
                }
            } as @Sendable () -> Void
        }
        runThreads(
            writers + [
                {
                    for round in 0..<12 {
                        let target = round % 2 == 0 ? 2 : 1
                        for device in machine.devices { device.pace = round % 4 < 2 ? .off : .real }
                        #expect(failure { () throws(Errno) in try machine.migrate(buffer, to: target) } == nil)
                        #expect(machine.contiguousRange(of: buffer)?.node == target)
                        #expect(machine.pages(of: buffer) == [target: pages])
                    }
                    isOver.store(true, ordering: .relaxed)
                }
            ])
        for page in 0..<pages {
            let seen = cache.touch(buffer, page: page) { ([$0[0], $0[1]], stored: false) }
            #expect(seen == (0..<2).map { index in UInt8(truncatingIfNeeded: stored.withLock { $0[index][page] }) })
        }
        try machine.checkInvariants()
        machine.remove(buffer)
        for node in machine.nodes.dropFirst() { #expect(node.usage.contiguous.free == 1024) }
    }

    @Test(
        "A device that goes takes its buffers elsewhere if it can; what cannot move is a blocker, and given up by force"
    )
    func blockers() throws {
        let machine = try machine()
        let (node, device) = (machine.node(1)!, machine.devices[0])
        let movable = try make(machine, pages: 500)
        try machine.store([7], to: movable, at: 4096)
        // Of its own block it goes to another run of the share first.
        let first = machine.contiguousRange(of: movable)!
        try machine.offline(machine.block(first.physicalAddress >> 21)!)
        #expect(machine.contiguousRange(of: movable)?.physicalAddress == first.physicalAddress + 2 << 20)
        #expect(machine.blockers(of: node).isEmpty)
        try machine.online(machine.block(first.physicalAddress >> 21)!)
        // Two that the other share has room for, but not both.
        let rival = try make(machine, pages: 510)
        let crowd = try make(machine, pages: 400, on: 2)
        try machine.store([8], to: rival, at: 0)
        #expect(machine.blockers(of: node).isEmpty)
        #expect(failure { () throws(Errno) in try machine.remove(device, isForced: true) } == .resourceBusy)
        let blocker = try #require(machine.blockers(of: node).first)
        let left = try #require([movable, rival].first { machine.contiguousRange(of: $0)?.node == 1 })
        #expect(machine.blockers(of: node).count == 1 && blocker.buffer === left && blocker.reason == .contiguous)
        #expect(blocker.bytes == 0..<left.size)
        try machine.checkInvariants()
        // Restricted nodes are for those who were let in.
        try machine.setIsolation(.restricted, of: machine.node(2)!)
        machine.remove(crowd)
        #expect(machine.blockers(of: node).count == 1)
        try machine.setPinned(true, of: left)
        #expect(machine.blockers(of: node).map(\.reason) == [.pinned])
        machine.giveUpBlockers(of: node)
        #expect(left.residentPages == 0 && !left.isContiguous && machine.blockers(of: node).isEmpty)
        try machine.remove(device, isForced: true)
        let other = left === movable ? rival : movable
        #expect(machine.contiguousRange(of: other)?.node == 2)
        #expect(try machine.bytes(of: other, at: left === movable ? 0 : 4096, count: 1) == [left === movable ? 8 : 7])
        try machine.checkInvariants()
    }

    @Test("What programs stored and did not write back is not lost, but freed, when a mapped buffer is given back")
    func mapped() throws {
        let machine = try machine()
        let buffer = try make(machine, pages: 16)
        let cache = PageCache(machine, mapping: [buffer])
        for page in 0..<16 {
            _ = cache.touch(buffer, page: page) { bytes in
                bytes[0] = 7
                return ((), stored: true)
            }
        }
        try machine.releaseContiguous(buffer)
        #expect(buffer.residentPages == 0 && machine.node(1)!.usage.contiguous.free == 1024)
        #expect(cache.touch(buffer, page: 3) { ($0[0], stored: false) } == 0)
        #expect(machine.pages(of: buffer) == [0: 1])
        try machine.checkInvariants()
    }
}
