import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// cgroup-v2.rst, "Cpuset" and "Organizing Processes and Threads".
@Suite("Control groups")
struct ControlGroupTests {
    private let machine: Machine
    private let tasks = FakeTasks()

    init() throws {
        machine = try Machine(topology: PlacementScene.topology("four"))
        machine.setTaskDirectory(tasks)
        tasks.fork(100)
    }

    private func touch(_ id: Int32) throws -> String {
        let buffer = try machine.makeBuffer("default", size: 4096)
        defer { machine.remove(buffer) }
        return try PlacementScene.touch(machine, buffer, pages: 0..<1, origin: Origin(pid: id, node: 0))
    }

    @Test("What is asked for stays; what is granted is what the parent has of it, or all the parent has")
    func nesting() throws {
        let a = try machine.makeGroup("a", in: machine.rootGroup)
        let b = try machine.makeGroup("b", in: a)
        let c = try machine.makeGroup("c", in: b)
        let effective = { [a, b, c].map { machine.effectiveMems(of: $0).description } }
        #expect(effective() == ["0-3", "0-3", "0-3"])
        #expect(try machine.setMems([0, 1, 2], of: a).map(\.group.id) == [a.id, b.id, c.id])
        let changes = try machine.setMems([1, 2, 3], of: b)
        #expect(changes.map(\.group.id) == [b.id, c.id])
        #expect(changes.map(\.old) == [[0, 1, 2], [0, 1, 2]] && changes.map(\.new) == [[1, 2], [1, 2]])
        #expect(try machine.setMems([2], of: c).count == 1)
        #expect(effective() == ["0-2", "1-2", "2"])
        #expect(try machine.setMems([0], of: a).map(\.new) == [[0], [0], [0]])
        #expect(b.mems == [1, 2, 3] && c.mems == [2])
        #expect(try machine.setMems([], of: a).count == 3)
        #expect(effective() == ["0-3", "1-3", "2"])
        #expect(try machine.setMems([1, 2, 3], of: b).isEmpty)
        #expect(machine.effectiveMems(of: machine.rootGroup) == [0, 1, 2, 3])
    }

    @Test("Names that are taken, groups that are in use or gone, nodes that do not exist")
    func errors() throws {
        let a = try machine.makeGroup("a", in: machine.rootGroup)
        let b = try machine.makeGroup("b", in: a)
        #expect(failure { () throws(Errno) in try machine.makeGroup("a", in: machine.rootGroup) } == .fileExists)
        #expect(failure { () throws(Errno) in try machine.removeGroup("a", in: machine.rootGroup) } == .resourceBusy)
        #expect(failure { () throws(Errno) in try machine.removeGroup("x", in: a) } == .noSuchFileOrDirectory)
        _ = try machine.attach(process: 100, to: b)
        #expect(failure { () throws(Errno) in try machine.removeGroup("b", in: a) } == .resourceBusy)
        #expect(try machine.attach(process: 100, to: machine.rootGroup) === b)
        try machine.removeGroup("b", in: a)
        #expect(
            failure { () throws(Errno) in try machine.attach(process: 100, to: b) } == .operationNotSupportedByDevice)
        #expect(failure { () throws(Errno) in try machine.makeGroup("c", in: b) } == .noSuchFileOrDirectory)
        #expect(failure { () throws(Errno) in try machine.setMems([7], of: a) } == .invalidArgument)
        #expect(failure { () throws(Errno) in try machine.setMems([0], of: machine.rootGroup) } == .permissionDenied)
        #expect(a.mems.isEmpty && a.children.isEmpty)
        // The name is free again, for another group.
        #expect(try machine.makeGroup("b", in: a).id != b.id)
    }

    @Test("A group is the process's: threads are in it, children begin in it, and nobody follows later")
    func membership() throws {
        let a = try machine.makeGroup("a", in: machine.rootGroup)
        let b = try machine.makeGroup("b", in: machine.rootGroup)
        _ = try machine.setMems([1], of: a)
        _ = try machine.setMems([2], of: b)
        tasks.thread(101, of: 100)
        tasks.fork(200, from: 100)
        // A thread's number stands for its process (cgroup.procs).
        _ = try machine.attach(process: 101, to: a)
        tasks.fork(201, from: 100)
        _ = try machine.attach(process: 100, to: b)
        tasks.fork(202, from: 100)
        tasks.fork(203, from: 201)
        #expect(try [100, 101, 200, 201, 202, 203].map(touch) == ["2", "2", "0", "1", "2", "1"])
        #expect(machine.processes(in: a) == [201, 203])
        #expect(machine.processes(in: b) == [100, 202])
        tasks.exit(201)
        tasks.exit(203)
        try machine.removeGroup("a", in: machine.rootGroup)
    }

    @Test("The nodes granted follow memory that goes and comes, from the next fault on")
    func hotplug() throws {
        let a = try machine.makeGroup("a", in: machine.rootGroup)
        _ = try machine.setMems([3], of: a)
        _ = try machine.attach(process: 100, to: a)
        #expect(try touch(100) == "3")
        try machine.offline(machine.devices[1])
        #expect(machine.effectiveMems(of: a) == [0, 1, 2] && a.mems == [3])
        #expect(try touch(100) == "0")
        try machine.online(machine.devices[1])
        #expect(machine.effectiveMems(of: a) == [3])
        #expect(try touch(100) == "3")
    }

    @Test("A group that moves to other nodes takes the policies of its tasks along, and no others")
    func rebinding() throws {
        let a = try machine.makeGroup("a", in: machine.rootGroup)
        let b = try machine.makeGroup("b", in: a)
        _ = try machine.setMems([0, 1], of: a)
        tasks.fork(200)
        tasks.fork(300)
        _ = try machine.attach(process: 100, to: b)
        _ = try machine.attach(process: 200, to: a)
        for id in [Int32(100), 200, 300] {
            try machine.setPolicy(PlacementScene.policy("bind:1", in: machine), ofTask: id)
        }
        _ = try machine.setMems([1], of: b)
        _ = try machine.setMems([2, 3], of: a)
        #expect(
            try [100, 200, 300].map { try machine.policy(ofTask: $0).description } == ["bind:2", "bind:3", "bind:1"])
        _ = try machine.attach(process: 200, to: machine.rootGroup)
        #expect(try machine.policy(ofTask: 200).description == "bind:1")
    }
}
