import LinuxSupport
import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// Programs' own memory.
@Suite("Address spaces")
struct AddressSpaceTests {
    private static let base: UInt64 = 0x7f00_0000_0000

    /// Addresses of pages, counted from ``base``.
    private func pages(_ range: Range<UInt64>) -> Range<UInt64> {
        Self.base + range.lowerBound << 12..<Self.base + range.upperBound << 12
    }

    private func touch(
        _ page: UInt64, of space: Buffer, on machine: Machine, around window: Range<UInt64>? = nil,
        origin: Origin = onNode0
    ) throws(Errno) -> Range<UInt64> {
        let got = try machine.touch(
            space, at: Self.base + page << 12 + 5, around: pages(window ?? page..<page + 1), origin: origin
        ).bytes
        return (got.lowerBound - Self.base) >> 12..<(got.upperBound - Self.base) >> 12
    }

    private func node(_ page: UInt64, of space: Buffer, on machine: Machine) -> Int? {
        machine.nodeID(of: space, at: Self.base + page << 12)
    }

    @Test("A touch gives frames to the page and to those around it that have none; figures say so")
    func touching() throws {
        let machine = try Machine(ram: 16, coherent: [16])
        let space = machine.makeAddressSpace()
        #expect(try touch(5, of: space, on: machine, around: 0..<32) == 0..<32)
        #expect(try touch(7, of: space, on: machine, around: 0..<32) == 7..<8)
        try machine.setPolicy(.bind(1), of: space, bytes: pages(64..<96))
        #expect(try touch(70, of: space, on: machine, around: 32..<96) == 32..<96)
        #expect(machine.pages(of: space) == [0: 64, 1: 32])
        machine.discard(space, bytes: pages(10..<12))
        #expect(try touch(11, of: space, on: machine, around: 0..<32) == 10..<12)
        let usage = machine.nodes.map(\.usage)
        #expect(usage.map(\.anonymous) == [64, 32])
        #expect(usage.map(\.allocated) == [64, 32])
        #expect(machine.nodes.map { $0.statistics.hit } == [66, 32])
        try machine.checkInvariants()
        machine.remove(space)
        #expect(machine.nodes.allSatisfy { $0.usage.free == $0.usage.present && $0.usage.anonymous == 0 })
        #expect(throws: Errno.noSuchAddressOrDevice) { try touch(0, of: space, on: machine) }
        #expect(throws: Errno.noSuchAddressOrDevice) {
            try machine.touch(space, at: .max, around: 0..<1, origin: onNode0)
        }
        try machine.checkInvariants()
    }

    /// Says that a program stores to some pages again and again, and to no others.
    private final class Use: MappingInvalidator {
        let pages: RangeSet<UInt64>
        init(_ pages: RangeSet<UInt64>) { self.pages = pages }
        func invalidate(_ buffer: Buffer, pages: Range<UInt64>) {}
        func use(of space: Buffer, pages: [Range<UInt64>]) -> ProgramUse? {
            ProgramUse([.init(pages: RangeSet(pages).intersection(self.pages), origin: onNode0)])
        }
    }

    @Test("Reclaim demotes what is not stored to, and neither what is nor what is locked; without an answer it stays")
    func reclaim() throws {
        let machine = try Machine(ram: 16, coherent: [16], isolation: .none)
        let space = machine.makeAddressSpace()
        _ = try touch(0, of: space, on: machine, around: 0..<1024)
        machine.setLocked(true, of: space, bytes: pages(900..<1024))
        let targets = [machine.nodes[1]]
        #expect(try machine.reclaim(1024, of: machine.nodes[0], demotingTo: targets, waitForUse: {}) == 0)
        let first = Self.base >> 12
        machine.setInvalidator(Use(RangeSet(first..<first + 300)))
        #expect(try machine.reclaim(1024, of: machine.nodes[0], demotingTo: targets, waitForUse: {}) == 600)
        for (page, expected) in [(0, 0), (299, 0), (300, 1), (899, 1), (900, 0), (1023, 0)] as [(UInt64, Int)] {
            #expect(node(page, of: space, on: machine) == expected, "page \(page)")
        }
        let usage = machine.nodes[0].usage
        #expect(usage.activeAnonymous == 300 && usage.active == 300)
        try machine.checkInvariants()
        machine.remove(space)
        #expect(machine.nodes[0].usage.active == 0)
        try machine.checkInvariants()
    }

    @Test("The policy of the task, cpusets and isolation hold, as for buffers")
    func policies() throws {
        let machine = try Machine(ram: 16, coherent: [2, 16], isolation: .restricted)
        let tasks = FakeTasks()
        tasks.fork(100)
        tasks.fork(200)
        machine.setTaskDirectory(tasks)
        tasks.open(machine.devices[0].name, by: 100)
        let space = machine.makeAddressSpace()
        let (mine, other) = (Origin(pid: 100, node: 0), Origin(pid: 200, node: 0))
        try machine.setPolicy(.bind(1), ofTask: 100)
        #expect(throws: Errno.notPermitted) { try machine.setPolicy(.bind(1), ofTask: 200) }
        let free = UInt64(machine.nodes[1].usage.free)
        for start in stride(from: 0, to: free, by: 32) {
            _ = try touch(start, of: space, on: machine, around: start..<start + 32, origin: mine)
        }
        #expect(machine.pages(of: space) == [1: Int(free)])
        #expect(throws: Errno.noMemory) {
            try touch(free, of: space, on: machine, around: free..<free + 32, origin: mine)
        }
        #expect(try touch(free, of: space, on: machine, origin: other) == free..<free + 1)
        #expect(node(free, of: space, on: machine) == 0)
        try machine.setPolicy(.bind(1), of: space, bytes: pages(free + 8..<free + 16))
        #expect(throws: Errno.notPermitted) { try touch(free + 8, of: space, on: machine, origin: other) }
        // One frame left: the window does not fit, the page does.
        machine.discard(space, bytes: pages(3..<4))
        #expect(try touch(1000, of: space, on: machine, around: 992..<1024, origin: mine) == 1000..<1001)
        try machine.checkInvariants()
        machine.remove(space)
    }

    @Test("Pages go with their node, move to others, and stay where their frame failed")
    func moving() throws {
        let machine = try Machine(ram: 32, coherent: [16])
        let space = machine.makeAddressSpace()
        try machine.setPolicy(.bind(1), of: space, bytes: pages(0..<512))
        for start in stride(from: UInt64(0), to: 512, by: 32) {
            _ = try touch(start, of: space, on: machine, around: start..<start + 32)
        }
        try machine.migrate(space, bytes: pages(0..<256), to: 0)
        #expect(machine.pages(of: space) == [0: 256, 1: 256])
        let failing = machine.runs(of: space, from: Self.base + 300 << 12, limit: 1)[0]
        try machine.poison(address: failing.physicalAddress)
        #expect(throws: Errno.ioError) { try touch(300, of: space, on: machine) }
        #expect(machine.pages(of: space) == [0: 256, 1: 255])
        // It goes with its addresses, and with what the addresses have.
        machine.move(pages(256..<512), of: space, to: Self.base + 1 << 30)
        #expect(throws: Errno.ioError) { try touch(1 << 18 + 44, of: space, on: machine) }
        #expect(node(1 << 18, of: space, on: machine) == 1)
        try machine.checkInvariants()
        try machine.migrate(node: machine.nodes[1], to: 0)
        #expect(machine.pages(of: space) == [0: 511])
        machine.discard(space, bytes: pages(1 << 18 + 44..<1 << 18 + 45))
        #expect(try touch(1 << 18 + 44, of: space, on: machine) == 1 << 18 + 44..<1 << 18 + 45)
        try machine.checkInvariants()
        machine.remove(space)
    }

    @Test("What a fork has not room for is left without frames")
    func scarceFork() throws {
        let machine = try Machine(ram: 2, coherent: [2], isolation: .exclusive)
        let space = machine.makeAddressSpace()
        let free = UInt64(machine.nodes[0].usage.free)
        let part = free * 3 / 4
        for start in stride(from: 0, to: part, by: 1) { _ = try touch(start, of: space, on: machine) }
        let child = machine.makeAddressSpace()
        #expect(machine.copy(space, to: child) == Int(part - (free - part)))
        #expect(machine.pages(of: child) == [0: Int(free - part)])
        machine.remove(space)
        try machine.checkInvariants()
        machine.remove(child)
        #expect(machine.copy(space, to: child) == 0)
    }

    @Test("A space that is removed while its pages move keeps none")
    func removedOnTheMove() throws {
        let machine = try Machine(ram: 64, coherent: [64], isolation: .none)
        for _ in 0..<40 {
            let space = machine.makeAddressSpace()
            // Every page is a run of frames of its own, so that it goes in many parts.
            try machine.setPolicy(
                MemoryPolicy(parsing: "interleave:0-1", available: machine.nodesWithMemory), of: space,
                bytes: pages(0..<4096))
            for start in stride(from: UInt64(0), to: 4096, by: 512) {
                _ = try touch(start, of: space, on: machine, around: start..<start + 512)
            }
            let (first, second) = (pages(0..<2048), pages(2048..<4096))
            let thread = try SystemThread {
                for _ in 0..<8 {
                    machine.move(second, of: space, to: 1 << 20)
                    machine.move(1 << 20..<1 << 20 + UInt64(second.count), of: space, to: second.lowerBound)
                }
            }
            machine.discard(space, bytes: first)
            machine.remove(space)
            thread.join()
            #expect(machine.nodes.allSatisfy { $0.usage.free == $0.usage.present })
        }
        try machine.checkInvariants()
    }

    /// Spaces against tables of where each page is.
    @Test("Random calls do what a table says", arguments: 1...6)
    func model(seed: UInt64) throws {
        let machine = try Machine(ram: 64, coherent: [32, 32])
        var generator = SplitMix64(seed: seed)
        func random(_ limit: Int) -> Int { Int(generator.next() % UInt64(limit)) }
        struct Table {
            var nodes: [Int?] = Array(repeating: nil, count: AddressSpaceTests.span)
            var policies = Array(repeating: 0, count: AddressSpaceTests.span)
            var isLocked = Array(repeating: false, count: AddressSpaceTests.span)
        }
        var spaces: [(space: Buffer, table: Table)] = [(machine.makeAddressSpace(), Table())]
        for step in 0..<600 {
            let index = random(spaces.count)
            let space = spaces[index].space
            let start = random(Self.span)
            let end = min(Self.span, start + 1 + random(80))
            let range = pages(UInt64(start)..<UInt64(end))
            switch random(12) {
            case 9:
                let elder = spaces[random(spaces.count)]
                guard elder.space !== space else { continue }
                machine.share(space, bytes: range, with: elder.space)
                for page in start..<end where elder.table.nodes[page] != nil { spaces[index].table.nodes[page] = nil }
            case 10:
                let elder = spaces[random(spaces.count)]
                #expect(machine.copy(elder.space, to: space, bytes: range) == 0)
                for page in start..<end where spaces[index].table.nodes[page] == nil {
                    spaces[index].table.nodes[page] = elder.table.nodes[page]
                }
            case 11:
                let isLocked = random(2) == 0
                machine.setLocked(isLocked, of: space, bytes: range)
                for page in start..<end { spaces[index].table.isLocked[page] = isLocked }
            case 0, 1, 2:
                let page = start + random(end - start)
                let got = try touch(UInt64(page), of: space, on: machine, around: UInt64(start)..<UInt64(end))
                var (low, high) = (page, page + 1)
                if spaces[index].table.nodes[page] == nil {
                    while low > start, spaces[index].table.nodes[low - 1] == nil { low -= 1 }
                    while high < end, spaces[index].table.nodes[high] == nil { high += 1 }
                    for page in low..<high { spaces[index].table.nodes[page] = spaces[index].table.policies[page] }
                }
                #expect(got == UInt64(low)..<UInt64(high))
            case 3:
                machine.discard(space, bytes: range)
                for page in start..<end { spaces[index].table.nodes[page] = nil }
            case 4:
                machine.unmap(space, bytes: range)
                for page in start..<end {
                    (spaces[index].table.nodes[page], spaces[index].table.policies[page]) = (nil, 0)
                    spaces[index].table.isLocked[page] = false
                }
            case 5:
                let node = random(3)
                try machine.setPolicy(node == 0 ? .default : .bind(node), of: space, bytes: range)
                for page in start..<end { spaces[index].table.policies[page] = node }
            case 6:
                let node = random(3)
                try machine.migrate(space, ranges: [range], to: node)
                for page in start..<end where spaces[index].table.nodes[page] != nil {
                    spaces[index].table.nodes[page] = node
                }
            case 7:
                let target = random(Self.span - (end - start) + 1)
                guard target >= end || target + end - start <= start else { continue }
                machine.move(range, of: space, to: Self.base + UInt64(target) << 12)
                for page in start..<end {
                    spaces[index].table.nodes[target + page - start] = spaces[index].table.nodes[page]
                    spaces[index].table.policies[target + page - start] = spaces[index].table.policies[page]
                    (spaces[index].table.nodes[page], spaces[index].table.policies[page]) = (nil, 0)
                    spaces[index].table.isLocked[target + page - start] = spaces[index].table.isLocked[page]
                    spaces[index].table.isLocked[page] = false
                }
            default:
                if spaces.count < 4 {
                    let child = machine.makeAddressSpace()
                    #expect(machine.copy(space, to: child) == 0)
                    spaces.append((child, spaces[index].table))
                    // Locks are not inherited.
                    spaces[spaces.count - 1].table.isLocked = Array(repeating: false, count: Self.span)
                } else if random(3) == 0 {
                    machine.remove(space)
                    spaces.remove(at: index)
                }
            }
            if step % 50 == 49 { try machine.checkInvariants() }
            for (space, table) in spaces {
                try #require((0..<Self.span).map { node(UInt64($0), of: space, on: machine) } == table.nodes, "\(step)")
            }
            for node in 0..<3 {
                let locked = spaces.reduce(0) { sum, space in
                    sum + zip(space.table.nodes, space.table.isLocked).count { $0 == node && $1 }
                }
                try #require(machine.lockedPages(on: machine.nodes[node]).own == locked, "\(step)")
            }
        }
        for (space, _) in spaces { machine.remove(space) }
        try machine.checkInvariants()
        #expect(machine.nodes.allSatisfy { $0.usage.free == $0.usage.present })
    }

    private static let span = 400
}
