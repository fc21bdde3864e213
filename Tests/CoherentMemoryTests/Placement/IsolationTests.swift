import LinuxSupport
import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// The modes of isolation and the zonelists that they make.
@Suite("Isolation")
struct IsolationTests {
    private let machine: Machine
    private let tasks = FakeTasks()

    init() throws {
        machine = try Machine(topology: PlacementScene.topology("four"))
        machine.setTaskDirectory(tasks)
        tasks.fork(100)
    }

    private func touch(_ buffer: Buffer, _ page: UInt64, by id: Int32 = 100) throws -> String {
        try PlacementScene.touch(machine, buffer, pages: page..<page + 1, origin: Origin(pid: id, node: 0))
    }

    private func lists(_ kind: Zonelist.Kind) -> [[Int]] {
        machine.nodes.map { node in machine.zonelists(of: node).first { $0.kind == kind }!.nodes }
    }

    @Test("Zonelists: isolated nodes stand in their own only, nodes without memory in none")
    func zonelists() throws {
        #expect(lists(.fallback) == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 0, 1, 3], [3, 1, 0, 2]])
        try machine.setIsolation(.exclusive, of: machine.node(2)!)
        #expect(lists(.fallback) == [[0, 1, 3], [1, 0, 3], [2, 0, 1, 3], [3, 1, 0]])
        try machine.setIsolation(.restricted, of: machine.node(3)!)
        #expect(lists(.fallback) == [[0, 1], [1, 0], [2, 0, 1], [3, 1, 0]])
        #expect(lists(.thisnode) == [[0], [1], [2], [3]])
        try machine.setIsolation(.driver, of: machine.node(2)!)
        #expect(lists(.fallback) == [[0, 1], [1, 0], [0, 1], [3, 1, 0]])
        #expect(lists(.thisnode) == [[0], [1], [], [3]])
        try machine.offline(machine.devices[1])
        #expect(lists(.fallback) == [[0, 1], [1, 0], [0, 1], [1, 0]])
    }

    @Test("Driver: entered and left only while the node is empty; meanwhile it is no node")
    func driver() throws {
        let (node, device) = (machine.node(2)!, machine.devices[0])
        let block = try #require(machine.block(UInt64(2)))
        #expect(block.node === node && block.state == .online)
        let buffer = try machine.makeBuffer("bind:2", size: 8 * 4096)
        #expect(try touch(buffer, 0) == "2")
        #expect(failure { () throws(Errno) in try machine.setIsolation(.driver, of: node) } == .resourceBusy)
        #expect(Isolation(node.capabilities) == Isolation.none && node.hasMemory)
        try machine.migrate(buffer, to: 0)
        let events = Mutex<[MachineEvent]>([])
        machine.setRecorder { event in events.withLock { $0.append(event) } }
        try machine.setIsolation(.driver, of: node)
        #expect(
            events.withLock { $0 } == [
                .capabilities(node: 2, []), .unbound(device: "cdm0", .kmem), .bound(device: "cdm0", .deviceDAX),
                .block(2, .offline),
            ])
        #expect(machine.nodesWithMemory == [0, 1, 3] && !node.hasMemory && device.state == .offline)
        #expect(node.usage.present == 0 && node.usage.free == 0 && block.state == .offline)
        for policy in ["bind:2", "prefer:2", "interleave:0-2"] {
            #expect(
                failure { () throws(Errno) in try PlacementScene.policy(policy, in: machine) } == .invalidArgument,
                "\(policy)")
        }
        #expect(failure { () throws(Errno) in try machine.migrate(buffer, to: 2) } == .operationNotSupportedByDevice)
        #expect(outcome { () throws(Errno) in try machine.online(block) }.errno != nil)
        #expect(block.state == .offline)
        #expect(try touch(device.memory, 0) == "2")
        #expect(node.usage.present == 0)
        #expect(failure { () throws(Errno) in try machine.setIsolation(.none, of: node) } == .resourceBusy)
        machine.punch(device.memory, bytes: 0..<4096)
        try machine.setIsolation(.exclusive, of: node)
        #expect(
            events.withLock { $0.suffix(4) } == [
                .capabilities(node: 2, Isolation.exclusive.capabilities), .unbound(device: "cdm0", .deviceDAX),
                .bound(device: "cdm0", .kmem), .block(2, .online),
            ])
        #expect(machine.nodesWithMemory == [0, 1, 2, 3] && node.usage.free == 512)
        #expect(
            failure { () throws(Errno) in try machine.setIsolation(.driver, of: machine.node(0)!) } == .invalidArgument)
        try machine.checkInvariants()
    }

    @Test("Restricted: who may use the node is decided at the moment of the fault")
    func restricted() throws {
        let node = machine.node(2)!
        let buffer = try machine.makeBuffer("bind:2", size: 64 * 4096)
        try machine.setIsolation(.restricted, of: node)
        #expect(try touch(buffer, 0) == "p")
        try machine.setPermitted(true, process: 100, on: node)
        #expect(try touch(buffer, 0) == "2" && machine.permittedProcesses(on: node) == [100])
        tasks.thread(101, of: 100)
        tasks.fork(200, from: 100)
        // Leave is the process's: with its threads, without its children.
        #expect(try touch(buffer, 1, by: 101) == "2" && touch(buffer, 2, by: 200) == "p")
        try machine.setPermitted(false, process: 100, on: node)
        #expect(try touch(buffer, 2) == "p")
        tasks.open("cdm0", by: 100)
        #expect(try touch(buffer, 2) == "2" && touch(buffer, 3, by: 101) == "2")
        tasks.close("cdm0", by: 100)
        tasks.open("cdm1", by: 100)
        #expect(try touch(buffer, 4) == "p")
        // What is there stays usable, and nobody is no task.
        #expect(
            try touch(buffer, 0, by: 200) == "2" && touch(buffer, 4, by: 0) == "p" && touch(buffer, 4, by: 999) == "p")
        #expect(node.statistics.refusedNotAllowed == 6 && node.statistics.refusedFallback == 0)
        #expect(buffer.counters.refused == 6)
        try machine.setIsolation(.exclusive, of: node)
        #expect(try touch(buffer, 4, by: 200) == "2")
        try machine.checkInvariants()
    }

    @Test("Each request that isolation turned away or sent elsewhere is counted once, where it would have gone")
    func counters() throws {
        for device in machine.devices { try machine.setIsolation(.exclusive, of: device.node) }
        for node in [0, 1] { try PlacementScene.fill(machine, node: node) }
        let buffer = try machine.makeBuffer("default", size: 8 * 4096)
        #expect(try touch(buffer, 0) == "m")
        #expect(machine.nodes.map(\.statistics.refusedFallback) == [0, 0, 1, 1])
        let named = try machine.makeBuffer("prefer:2", size: 8 * 4096)
        #expect(try touch(named, 0) == "2")
        #expect(machine.nodes.map(\.statistics.refusedFallback) == [0, 0, 1, 1])
        let group = try machine.makeGroup("a", in: machine.rootGroup)
        _ = try machine.setMems([0, 3], of: group)
        _ = try machine.attach(process: 100, to: group)
        // What the cpuset forbids, isolation does not refuse.
        #expect(try touch(buffer, 0) == "m")
        #expect(machine.nodes.map(\.statistics.refusedFallback) == [0, 0, 1, 2])
    }
}
