import CoherentMemory
import MachineTopology
import SystemPackage
import Testing

@testable import Programs

/// The calls of programs, without a program: arguments, errors and what they do to buffers.
@Suite("Calls")
struct CallTests {
    private static let start: UInt64 = 0x7f00_0000_0000
    private static let nowhere: UInt64 = 8

    /// Two nodes, and a program that maps a buffer of 64 pages from page 8 on.
    private func scene() throws -> (FakeProgram, Buffer) {
        let machine = try Machine(
            topology: Topology(
                blockSize: 2 << 20,
                nodes: [
                    .ram(id: 0, memory: 64 << 20, cpus: IDSet(0..<2)),
                    .ram(id: 2, memory: 64 << 20, cpus: IDSet(68..<70)),
                ]))
        machine.setTaskDirectory(OneTask())
        let buffer = machine.makeBuffer()
        try machine.resize(buffer, to: 72 << 12)
        let program = FakeProgram(machine)
        program.task = OneTask.id
        program.areas = [
            MemoryArea(
                addresses: Self.start..<Self.start + 64 << 12, content: .buffer(buffer, offset: 8 << 12)),
            MemoryArea(addresses: Self.start + 1 << 32..<Self.start + 1 << 32 + 1 << 20, content: .other),
        ]
        return (program, buffer)
    }

    private func touch(_ buffer: Buffer, pages: Range<UInt64>, on machine: Machine) throws {
        for page in pages {
            try unsafe machine.read(buffer, at: page << 12, length: 1, origin: Origin(pid: OneTask.id, node: 0)) { _ in
            }
        }
    }

    private func error(_ call: () throws -> CallOutcome) -> Errno? {
        do {
            _ = try call()
            return nil
        } catch {
            return error as? Errno
        }
    }

    // MARK: Sets of nodes

    @Test("A set of nodes has one bit fewer than is said, and what is behind it is not looked at")
    func nodeSets() throws {
        let (program, _) = try scene()
        let map = try program.put([UInt64(0b1011)])
        #expect(try program.nodes(at: map, limit: 3) == IDSet(0..<2))
        #expect(try program.nodes(at: map, limit: 4) == IDSet(0..<2))
        #expect(try program.nodes(at: map, limit: 5) == IDSet(0..<2).union(IDSet(3..<4)))
        #expect(try program.nodes(at: map, limit: 1).isEmpty)
        #expect(try program.nodes(at: 0, limit: 0).isEmpty)
        #expect(throws: Errno.invalidArgument) { try program.nodes(at: map, limit: 0) }
        #expect(throws: Errno.invalidArgument) { try program.nodes(at: map, limit: 4096 * 8 + 2) }
        #expect(throws: Errno.badAddress) { try program.nodes(at: Self.nowhere, limit: 64) }
        // A map longer than there can be nodes, with and without a bit there.
        let long = try program.put([UInt64](repeating: 0, count: 32))
        #expect(try program.nodes(at: long, limit: 2000).isEmpty)
        _ = try program.put([UInt64(1)], at: 16 * 8)
        #expect(throws: Errno.invalidArgument) { try program.nodes(at: long, limit: 2000) }
    }

    // MARK: set_mempolicy and get_mempolicy

    @Test("set_mempolicy: Linux's errors, and what get_mempolicy then tells")
    func taskPolicy() throws {
        let (program, _) = try scene()
        let both = try program.put([UInt64(0b101)])
        let none = try program.put([UInt64(0b1000)], at: 64)
        let out: UInt64 = FakeProgram.base + 1024
        func set(_ mode: UInt64, _ nodes: UInt64, _ limit: UInt64 = 65) -> Errno? {
            error { try program.setPolicy(mode: mode, nodes: nodes, limit: limit) }
        }
        func policy() throws -> (mode: Int32, nodes: UInt64) {
            _ = try program.getPolicy(mode: out, nodes: out + 8, limit: 64, address: 0, flags: 0)
            return (
                try program.read(out, count: 1, as: Int32.self)[0],
                try program.read(out + 8, count: 1, as: UInt64.self)[0]
            )
        }
        for (mode, nodes) in [
            (7, both), (UInt64(3 | 1 << 15 | 1 << 14), both), (3 | 1 << 13, both), (0, both), (4, both), (2, 0), (3, 0),
            (1 | 1 << 15, 0), (2, none), (.max, both),
        ] {
            #expect(set(mode, nodes) == .invalidArgument, "mode \(mode)")
        }
        #expect(set(2, Self.nowhere) == .badAddress)
        #expect(set(2, both) == nil)
        #expect(try policy() == (2, 0b101))
        #expect(set(2 | 1 << 13, both) == nil)
        #expect(try policy() == (2 | 1 << 13, 0b101))
        #expect(set(1, both) == nil)
        #expect(try policy() == (1, 0b001))
        #expect(set(1, 0) == nil)
        #expect(try policy() == (4, 0))
        #expect(set(3 | 1 << 15, both) == nil)
        #expect(try policy() == (3 | 1 << 15, 0b101))
        #expect(set(0, 0, 0) == nil)
        #expect(try policy() == (0, 0))
        program.allowed = IDSet(0..<1)
        #expect(set(2, try program.put([UInt64(0b100)], at: 128)) == .invalidArgument)
    }

    @Test("A policy with static or relative nodes is told as it was set, and follows the nodes that are allowed")
    func flaggedPolicy() throws {
        let size: UInt64 = 64 << 20
        let machine = try Machine(
            topology: Topology(
                blockSize: 2 << 20,
                nodes: [
                    .ram(id: 0, memory: size, cpus: [0]), .ram(id: 1, memory: 0, cpus: [1]),
                    .ram(id: 2, memory: size, cpus: [2]),
                ]))
        machine.setTaskDirectory(OneTask())
        let program = FakeProgram(machine)
        program.task = OneTask.id
        let group = try machine.makeGroup("group", in: machine.rootGroup)
        _ = try machine.attach(process: OneTask.id, to: group)
        func allow(_ nodes: IDSet) throws {
            _ = try machine.setMems(nodes, of: group)
            program.allowed = machine.effectiveMems(of: group)
        }
        let out: UInt64 = FakeProgram.base + 1024
        func placed(count: UInt64 = 4) throws -> [Int?] {
            let buffer = machine.makeBuffer()
            defer { machine.remove(buffer) }
            try machine.resize(buffer, to: count << 12)
            try touch(buffer, pages: 0..<count, on: machine)
            return (0..<count).map { machine.nodeID(of: buffer, at: $0 << 12) }
        }
        let (isStatic, isRelative): (UInt64, UInt64) = (1 << 15, 1 << 14)
        for (mode, mask, few, all) in [
            (1 | isStatic, 0b110, [0, 0, 0, 0], [2, 2, 2, 2]), (2 | isStatic, 0b111, [0, 0, 0, 0], [0, 0, 0, 0]),
            (3 | isStatic, 0b111, [0, 0, 0, 0], [0, 2, 0, 2]), (3 | isRelative, 0b1011, [0, 0, 0, 0], [0, 2, 0, 2]),
            (1 | isRelative, 0b110, [0, 0, 0, 0], [0, 0, 0, 0]), (6 | isStatic, 0b111, [0, 0, 0, 0], [0, 2, 0, 2]),
        ] as [(UInt64, UInt64, [Int], [Int])] {
            let nodes = try program.put([mask])
            try allow(IDSet())
            _ = try program.setPolicy(mode: mode, nodes: nodes, limit: 65)
            #expect(try placed() == all, "mode \(mode)")
            if mode & 7 != 1 { try allow(IDSet(0..<1)) }
            _ = try program.setPolicy(mode: mode, nodes: nodes, limit: 65)
            #expect(try mode & 7 == 1 || placed() == few, "mode \(mode)")
            _ = try program.getPolicy(mode: out, nodes: out + 8, limit: 64, address: 0, flags: 0)
            #expect(try program.read(out, count: 1, as: Int32.self) == [Int32(mode)])
            #expect(try program.read(out + 8, count: 1, as: UInt64.self) == [mask])
            try allow(IDSet())
            #expect(try placed() == all, "mode \(mode)")
        }
        // The same of a range.
        let buffer = machine.makeBuffer()
        try machine.resize(buffer, to: 4 << 12)
        program.areas = [
            MemoryArea(addresses: Self.start..<Self.start + 4 << 12, content: .buffer(buffer, offset: 0))
        ]
        let nodes = try program.put([UInt64(0b110)])
        _ = try program.bind(
            start: Self.start, length: 4 << 12, mode: 1 | isStatic, nodes: nodes, limit: 65, flags: 0)
        _ = try program.getPolicy(mode: out, nodes: out + 8, limit: 64, address: Self.start, flags: 2)
        #expect(try program.read(out + 8, count: 1, as: UInt64.self) == [0b110])
        try touch(buffer, pages: 0..<4, on: machine)
        #expect(machine.placement(of: buffer).map(\.node) == [2])
        // In numa_maps stand the nodes that it comes to.
        let told = machine.policy(of: buffer, at: 0).standing(within: machine.nodesWithMemory)
        #expect("\(told)" == "prefer=static:2")
        machine.remove(buffer)
    }

    @Test("get_mempolicy: Linux's errors, the allowed nodes, and a page's node")
    func telling() throws {
        let (program, buffer) = try scene()
        let out: UInt64 = FakeProgram.base + 1024
        func get(_ flags: UInt64, _ address: UInt64 = 0, limit: UInt64 = 64, mode: UInt64? = nil) -> Errno? {
            error {
                try program.getPolicy(mode: mode ?? out, nodes: out + 8, limit: limit, address: address, flags: flags)
            }
        }
        #expect(get(8) == .invalidArgument)
        #expect(get(4 | 1) == .invalidArgument)
        #expect(get(4 | 2) == .invalidArgument)
        #expect(get(0, Self.start) == .invalidArgument)
        #expect(get(1) == .invalidArgument)
        #expect(get(2, Self.start - 1) == .badAddress)
        #expect(get(0, limit: 2) == .invalidArgument)
        #expect(get(0, mode: Self.nowhere) == .badAddress)
        #expect(get(4) == nil)
        #expect(try program.read(out + 8, count: 1, as: UInt64.self) == [0b101])
        // Of memory that is not the machine's.
        let other = try program.getPolicy(mode: out, nodes: 0, limit: 0, address: Self.start + 1 << 32, flags: 2)
        #expect(other == .pass)
        // A page without a frame gets one.
        try program.machine.setPolicy(.bind(2), of: buffer, bytes: 8 << 12..<9 << 12)
        #expect(get(3, Self.start + 17) == nil)
        #expect(try program.read(out, count: 1, as: Int32.self) == [2])
        #expect(get(2, Self.start) == nil)
        #expect(try program.read(out, count: 1, as: Int32.self) == [2])
        #expect(get(2, Self.start + 1 << 12) == nil)
        #expect(try program.read(out, count: 1, as: Int32.self) == [0])
        // The page of zeros is on the first node, whatever the policy.
        program.loadsZeros = true
        try program.machine.setPolicy(.bind(2), of: buffer, bytes: 12 << 12..<13 << 12)
        #expect(get(3, Self.start + 4 << 12) == nil)
        #expect(try program.read(out, count: 1, as: Int32.self) == [0])
        program.machine.remove(buffer)
    }

    // MARK: mbind

    @Test("mbind: a policy for the pages of a mapping, and Linux's errors")
    func binding() throws {
        let (program, buffer) = try scene()
        let machine = program.machine
        let second = try program.put([UInt64(0b100)])
        func bind(
            _ start: UInt64, _ length: UInt64, _ mode: UInt64 = 2, _ nodes: UInt64? = nil, flags: UInt64 = 0
        ) -> Errno? {
            error {
                try program.bind(
                    start: start, length: length, mode: mode, nodes: nodes ?? second, limit: 65, flags: flags)
            }
        }
        #expect(bind(Self.start + 1, 4096) == .invalidArgument)
        #expect(bind(Self.start, .max) == nil, "its length comes to nothing, as PAGE_ALIGN() has it")
        #expect(bind(Self.start, .max - 8191) == .invalidArgument)
        #expect(bind(Self.start, 0) == nil)
        #expect(bind(Self.start, 4096, flags: 8) == .invalidArgument)
        #expect(bind(Self.start, 4096, 9) == .invalidArgument)
        #expect(bind(Self.start, 4096, 2, Self.nowhere) == .badAddress)
        #expect(bind(Self.start - 4096, 8192) == .badAddress)
        #expect(bind(Self.start, 65 << 12) == .badAddress)
        program.isPrivileged = false
        #expect(bind(Self.start, 4096, flags: 4) == .notPermitted)
        program.isPrivileged = true
        #expect(
            try program.bind(start: Self.start + 1 << 32, length: 4096, mode: 2, nodes: second, limit: 65, flags: 0)
                == .pass)

        #expect(bind(Self.start + 4 << 12, 8 << 12) == nil)
        #expect(machine.policyRanges(of: buffer) == [PolicyRange(bytes: 12 << 12..<20 << 12, policy: .bind(2))])
        try touch(buffer, pages: 8..<24, on: machine)
        #expect(machine.placement(of: buffer).map(\.pages) == [8, 8])
        // Pages elsewhere: EIO, and the policy stays as it was.
        #expect(bind(Self.start, 16 << 12, flags: 1) == .ioError)
        #expect(machine.policyRanges(of: buffer).count == 1)
        #expect(bind(Self.start, 16 << 12, flags: 2 | 1) == nil)
        #expect(machine.placement(of: buffer).map(\.node) == [2])
        // MPOL_DEFAULT takes the part back.
        #expect(bind(Self.start, 64 << 12, 0, 0) == nil)
        #expect(machine.policyRanges(of: buffer).isEmpty)
        // Interleaved pages go in turns.
        let both = try program.put([UInt64(0b101)], at: 32)
        let first = try program.put([UInt64(0b1)], at: 64)
        #expect(bind(Self.start, 16 << 12, 2, first, flags: 2) == nil)
        #expect(machine.placement(of: buffer).map(\.node) == [0])
        #expect(bind(Self.start, 16 << 12, 3, both) == nil)
        machine.punch(buffer, bytes: 0..<72 << 12)
        try touch(buffer, pages: 8..<24, on: machine)
        #expect(machine.placement(of: buffer).map(\.pages) == [8, 8])
        machine.remove(buffer)
    }

    @Test("mbind: a misplaced page before a hole is EIO, unless the hole follows its mapping")
    func holes() throws {
        let (program, buffer) = try scene()
        let start = Self.start
        program.areas = [0, 4, 12, 16].map { page in
            MemoryArea(
                addresses: start + page << 12..<start + (page + 4) << 12, content: .buffer(buffer, offset: page << 12))
        }
        let second = try program.put([UInt64(0b100)])
        func bind(_ pages: Range<UInt64>, flags: UInt64 = 1) -> Errno? {
            error {
                try program.bind(
                    start: start + pages.lowerBound << 12, length: UInt64(pages.count) << 12, mode: 2, nodes: second,
                    limit: 65, flags: flags)
            }
        }
        #expect(bind(0..<20) == .badAddress)
        try touch(buffer, pages: 5..<6, on: program.machine)
        #expect(bind(0..<20) == .badAddress)
        try touch(buffer, pages: 1..<2, on: program.machine)
        #expect(bind(0..<20) == .ioError)
        #expect(bind(2..<20) == .badAddress)
        #expect(bind(0..<20, flags: 0) == .badAddress)
        #expect(bind(10..<20) == .badAddress)
        program.machine.remove(buffer)
    }

    @Test("mbind: pages that cannot move are EIO under MPOL_MF_STRICT alone")
    func stuck() throws {
        let (program, buffer) = try scene()
        try touch(buffer, pages: 8..<16, on: program.machine)
        try program.machine.setPinned(true, of: buffer)
        let second = try program.put([UInt64(0b100)])
        func bind(_ flags: UInt64) -> Errno? {
            error { try program.bind(start: Self.start, length: 4096, mode: 2, nodes: second, limit: 65, flags: flags) }
        }
        #expect(bind(2) == nil)
        #expect(bind(3) == .ioError)
        try program.machine.setPinned(false, of: buffer)
        #expect(bind(3) == nil)
        program.machine.remove(buffer)
    }

    @Test("set_mempolicy_home_node: of ranges that are bound, and Linux's errors")
    func homes() throws {
        let (program, buffer) = try scene()
        let both = try program.put([UInt64(0b101)])
        func home(_ start: UInt64, _ length: UInt64, _ node: UInt64, flags: UInt64 = 0) -> Errno? {
            error { try program.setHomeNode(start: start, length: length, home: node, flags: flags) }
        }
        #expect(home(Self.start, 4096, 2) == .noSuchFileOrDirectory)
        #expect(home(Self.start + 1, 4096, 2) == .invalidArgument)
        #expect(home(Self.start, 4096, 1) == .invalidArgument)
        #expect(home(Self.start, 4096, 1 << 40) == .invalidArgument)
        #expect(home(Self.start, 4096, 2, flags: 1) == .invalidArgument)
        #expect(home(Self.start, 0, 2) == nil)
        _ = try program.bind(start: Self.start, length: 4 << 12, mode: 3, nodes: both, limit: 65, flags: 0)
        #expect(home(Self.start, 4096, 2) == .notSupported)
        _ = try program.bind(start: Self.start, length: 4 << 12, mode: 2, nodes: both, limit: 65, flags: 0)
        #expect(home(Self.start, 2 << 12, 2) == nil)
        try touch(buffer, pages: 8..<12, on: program.machine)
        let nodes = (8..<12).map { program.machine.nodeID(of: buffer, at: UInt64($0) << 12) }
        #expect(nodes == [2, 2, 0, 0])
        program.machine.remove(buffer)
    }

    // MARK: CPUs

    @Test("Affinity is of the machine's CPUs, and getcpu tells one of them")
    func processors() throws {
        let (program, _) = try scene()
        let mask = try program.put([UInt64(0b10), 0b110000])
        let none = try program.put([UInt64(0b100), 0], at: 64)
        let out: UInt64 = FakeProgram.base + 256
        #expect(try program.getAffinity(process: 0, length: 16, mask: out) == .value(16))
        #expect(try program.read(out, count: 2, as: UInt64.self) == [0b11, 0b110000])
        for length: UInt64 in [8, 12, 0] {
            #expect(error { try program.getAffinity(process: 0, length: length, mask: out) } == .invalidArgument)
        }
        #expect(error { try program.setAffinity(process: 0, length: 16, mask: none) } == .invalidArgument)
        #expect(error { try program.setAffinity(process: 0, length: 16, mask: Self.nowhere) } == .badAddress)
        #expect(error { try program.setAffinity(process: 7, length: 16, mask: mask) } == .noSuchProcess)
        // What is longer than the machine's sets is cut.
        #expect(try program.setAffinity(process: 0, length: 4096, mask: mask) == .value(0))
        #expect(try program.getAffinity(process: 0, length: 32, mask: out) == .value(16))
        #expect(try program.read(out, count: 2, as: UInt64.self) == [0b10, 0b110000])
        #expect((0..<3).map { program.machine.cpu(ofTask: OneTask.id, on: $0) } == [1, 1, 69])
        program.cpu = 69
        #expect(try program.getCPU(cpu: out, node: out + 4) == .value(0))
        #expect(try program.read(out, count: 2, as: UInt32.self) == [69, 2])
        #expect(error { try program.getCPU(cpu: Self.nowhere, node: 0) } == .badAddress)
    }

    // MARK: Pages

    @Test("move_pages: where pages are, and where they go")
    func moving() throws {
        let (program, buffer) = try scene()
        try touch(buffer, pages: 8..<12, on: program.machine)
        let addresses = [0, 1, 3, 10].map { Self.start + UInt64($0) << 12 } + [Self.start - 1, Self.start + 1 << 32]
        let pages = try program.put(addresses)
        let status: UInt64 = FakeProgram.base + 512
        func move(_ nodes: [Int32]?, flags: UInt64 = 2, process: UInt64 = 0, count: Int? = nil) throws -> Errno? {
            let list = try nodes.map { try program.put($0, at: 256) } ?? 0
            return error {
                try program.movePages(
                    process: process, count: UInt64(bitPattern: Int64(count ?? addresses.count)), pages: pages,
                    nodes: list,
                    status: status,
                    flags: flags)
            }
        }
        func found() throws -> [Int32] { try program.read(status, count: addresses.count, as: Int32.self) }
        let (absent, fault) = (-Errno.noSuchFileOrDirectory.rawValue, -Errno.badAddress.rawValue)
        #expect(try move(nil) == nil)
        #expect(try found() == [0, 0, 0, absent, fault, absent])
        #expect(try move([2, 0, 2, 2, 2, 2]) == nil)
        #expect(try found() == [2, 0, 2, absent, fault, absent])
        #expect(try move([0, 7, 0, 0, 0, 0]) == .operationNotSupportedByDevice)
        #expect(try found() == [0, 0, 2, absent, fault, absent], "what comes before the wrong node has moved")
        #expect(try move([0, -1, 0, 0, 0, 0]) == .operationNotSupportedByDevice)
        // The last of several nodes of a page counts.
        let twice = try program.put([Self.start, Self.start], at: 1024)
        let nodes = try program.put([Int32(2), 0], at: 256)
        let again = try program.movePages(process: 0, count: 2, pages: twice, nodes: nodes, status: status, flags: 2)
        #expect(try again == .value(0) && program.read(status, count: 2, as: Int32.self) == [2, 0])
        #expect(program.machine.nodeID(of: buffer, at: 8 << 12) == 0)
        #expect(try move(nil, flags: 8) == .invalidArgument)
        #expect(try move(nil, flags: 1) == .invalidArgument)
        #expect(try move(nil, process: 77) == .noSuchProcess)
        // Pages of the host alone are the kernel's.
        let host = try program.put([Self.start + 1 << 32, Self.start - 1], at: 1024)
        let passed = try program.movePages(process: 0, count: 2, pages: host, nodes: 0, status: status, flags: 0)
        #expect(passed == .pass)
        // What is nothing's is of no node of the machine, and the machine's nodes are right.
        let nothing = try program.put([Self.start - 1], at: 1024)
        let told = try program.movePages(process: 0, count: 1, pages: nothing, nodes: 0, status: status, flags: 0)
        #expect(try told == .value(0) && program.read(status, count: 1, as: Int32.self) == [fault])
        #expect(try move(nil, count: 1 << 60) == .badAddress)
        #expect(try move(nil, count: -1) == .badAddress)
        program.allowed = IDSet(0..<1)
        #expect(try move([2, 2, 2, 2, 2, 2]) == .permissionDenied)
        program.allowed = nil
        program.isPrivileged = false
        #expect(try move(nil, flags: 4) == .notPermitted)
        // Another process that maps the same.
        program.others[5] = program.areas
        #expect(try move([2, 2, 2, 2, 2, 2], process: 5) == nil)
        #expect(try found() == [2, 2, 2, absent, fault, absent])
        program.machine.remove(buffer)
    }

    @Test("migrate_pages: from nodes to others, and how many stayed")
    func migrating() throws {
        let (program, buffer) = try scene()
        try touch(buffer, pages: 4..<12, on: program.machine)
        let first = try program.put([UInt64(0b1)])
        let second = try program.put([UInt64(0b100)], at: 64)
        let none = try program.put([UInt64(0b10)], at: 128)
        func migrate(_ old: UInt64, _ new: UInt64, process: UInt64 = 0) throws -> CallOutcome {
            try program.migratePages(process: process, limit: 65, old: old, new: new)
        }
        #expect(try migrate(first, second) == .value(0))
        // What the program does not map stays.
        #expect(program.machine.placement(of: buffer).map(\.pages) == [4, 4])
        #expect(error { try migrate(first, none) } == .invalidArgument)
        #expect(error { try migrate(first, Self.nowhere) } == .badAddress)
        #expect(error { try migrate(first, second, process: 9) } == .noSuchProcess)
        try program.machine.setPinned(true, of: buffer)
        #expect(try migrate(second, first) == .value(4))
        try program.machine.setPinned(false, of: buffer)
        program.isPrivileged = false
        program.allowed = IDSet(0..<1)
        #expect(error { try migrate(first, second) } == .notPermitted)
        program.machine.remove(buffer)
    }
}

/// The only task there is.
struct OneTask: TaskDirectory {
    static let id: Int32 = 42

    func task(_ id: Int32) -> TaskDescription? {
        id == Self.id ? TaskDescription(process: id, parent: 1, startTime: 1) : nil
    }
    var now: UInt64 { 2 }
    var processes: [Int32] { [Self.id] }
    func holdsDeviceOpen(of node: Node, process: Int32) -> Bool { false }
}
