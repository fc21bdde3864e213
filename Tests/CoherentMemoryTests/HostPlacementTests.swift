import Foundation
import LinuxSupport
import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// Nodes whose memory is a certain one of the host's. What really moves only a host with several nodes can tell; what the host
/// was told any can.
@Suite("Nodes of the host")
struct HostPlacementTests {
    private let first = IDSet.hostNodes.min()!

    /// Node 1 is on the host's first one, node 0 and 2 are anywhere.
    private func makeMachine() throws -> Machine {
        var topology = try Topology.small(ram: 16, coherent: [16, 16])
        var nodes = topology.nodes
        nodes[1].hostNode = first
        topology = try Topology(blockSize: topology.blockSize, nodes: nodes)
        return try Machine(topology: topology)
    }

    /// The policy of the host for the byte at an offset, as /proc/self/numa_maps words it.
    private func policy(of backing: FileDescriptor, at offset: UInt64) throws -> String {
        // With a gap on each side, so that it does not become a part of a neighbour.
        let gap = unsafe mmap(nil, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
        defer { unsafe munmap(gap, 3 * 4096) }
        let start = unsafe mmap(
            gap + 4096, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, backing.rawValue, off_t(offset))!
        let address = String(UInt(bitPattern: start), radix: 16)
        // To its end: reads of procfs are short, which String(contentsOfFile:) takes for the end.
        let file = try #require(FileHandle(forReadingAtPath: "/proc/self/numa_maps"))
        let lines = try String(decoding: file.readToEnd() ?? Data(), as: UTF8.self).split(separator: "\n")
        let line = try #require(lines.first { $0.hasPrefix(address + " ") })
        return String(line.split(separator: " ")[1])
    }

    private var placed: String { "prefer:\(first)" }

    @Test("The key is read and printed; a node that the host has not is refused")
    func topology() throws {
        let text = """
            [[node]]
            id = 0
            kind = "ram"
            memory = "128M"
            host_node = \(first)
            [[node]]
            id = 1
            kind = "coherent"
            memory = "128M"

            """
        let read = try Topology(toml: text)
        #expect(read.nodes.map(\.hostNode) == [first, Int?.none])
        #expect(try Topology(toml: read.toml) == read)
        let missing = try #require((0..<1024).first { !IDSet.hostNodes.contains($0) })
        #expect {
            try Topology(toml: text + "host_node = \(missing)\n", file: "lab.toml")
        } throws: { error in
            "\(error)" == "lab.toml:10: host_node \(missing); expected one of the host's nodes, \(IDSet.hostNodes)"
        }
    }

    @Test("The host is told where the pages of a direct buffer belong, when it is sized, grows, and wherever they move")
    func direct() throws {
        let machine = try makeMachine()
        let buffer = try machine.makeBuffer("bind:1", size: 3 << 20)
        let file = try BackingFile(anonymous: "test")
        try machine.makeDirect(buffer, in: file, origin: onNode0)
        func policies(_ offsets: UInt64...) throws -> [String] {
            try offsets.map { try policy(of: file.descriptor, at: $0) }
        }
        #expect(try policies(0, 3 << 20 - 4096, 3 << 20) == [placed, placed, "default"])
        try machine.migrate(buffer, bytes: 1 << 20..<2 << 20, to: 0)
        #expect(try policies(0, 1 << 20, 2 << 20 - 4096, 2 << 20) == [placed, "default", "default", placed])
        try machine.store([7], to: buffer, at: 1 << 20)
        try machine.migrate(buffer, to: 2)
        #expect(try policies(0, 1 << 20, 2 << 20) == ["default", "default", "default"])
        try machine.migrate(buffer, to: 1)
        #expect(try policies(0, 1 << 20, 2 << 20) == [placed, placed, placed])
        try machine.resize(buffer, to: 5 << 20)
        #expect(try policies(3 << 20, 5 << 20 - 4096) == [placed, placed])
        #expect(try machine.bytes(of: buffer, at: 1 << 20, count: 2) == [7, 0])
        #expect(machine.node(1)!.hostMigration.failed == 0)
        try machine.checkInvariants()
        machine.remove(buffer)
    }

    @Test("Pages that alternate between nodes each get theirs")
    func interleaved() throws {
        let machine = try makeMachine()
        let buffer = try machine.makeBuffer("interleave:1-2", size: 8 << 20)
        buffer.state.withLock { ($0.huge, $0.isHugeChosen) = (.never, true) }
        let file = try BackingFile(anonymous: "test")
        try machine.makeDirect(buffer, in: file, origin: onNode0)
        for run in machine.runs(of: buffer) {
            #expect(
                try policy(of: file.descriptor, at: run.offset) == (run.node == 1 ? placed : "default"), "\(run.offset)"
            )
        }
        #expect(machine.pages(of: buffer) == [1: 1024, 2: 1024])
        machine.remove(buffer)
    }

    @Test("The host is told where the pages of a tracked buffer belong before it makes them, and when they move")
    func tracked() throws {
        let machine = try makeMachine()
        let file = machine.memory.tables.storage.descriptor
        func policies(_ buffer: Buffer, _ pages: UInt64...) throws -> [String] {
            try pages.map { page in
                let place = buffer.state.withLock { state in
                    unsafe state.pages.table.entry(of: page).map { slot in unsafe machine.memory.tables.place(of: slot)
                    }
                }
                return try policy(of: file, at: place!)
            }
        }
        let buffer = try machine.makeBuffer("bind:1")
        try machine.store([UInt8](repeating: 7, count: 100 << 12), to: buffer, at: 0)
        let far = try machine.makeBuffer("bind:2")
        try machine.store([1], to: far, at: 0)
        #expect(try policies(buffer, 0, 63, 64, 99) == [placed, placed, placed, placed])
        #expect(try policies(far, 0) == ["default"])
        try machine.migrate(buffer, bytes: 32 << 12..<64 << 12, to: 0)
        #expect(try policies(buffer, 31, 32, 63, 64) == [placed, "default", "default", placed])
        try machine.migrate(buffer, to: 1)
        #expect(try policies(buffer, 31, 32, 63, 64) == [placed, placed, placed, placed])
        // Whoever has the place next is told of anew.
        machine.remove(buffer)
        let next = try machine.makeBuffer("interleave:0-1")
        try machine.store([UInt8](repeating: 7, count: 100 << 12), to: next, at: 0)
        for run in machine.runs(of: next) {
            #expect(try policies(next, run.offset >> 12) == [run.node == 1 ? placed : "default"], "\(run.offset)")
        }
        #expect(machine.node(1)!.hostMigration.failed == 0)
        try machine.checkInvariants()
    }
}
