import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// Who has which policy: numa_memory_policy.rst, "Task/Process Policy".
@Suite("Task policies")
struct TaskTableTests {
    private let machine: Machine
    private let tasks = FakeTasks()

    init() throws {
        machine = try Machine(topology: PlacementScene.topology("four"))
        machine.setTaskDirectory(tasks)
        tasks.fork(1, from: 0)
        tasks.fork(100)
    }

    private func set(_ words: String, _ id: Int32) throws {
        try machine.setPolicy(PlacementScene.policy(words, in: machine), ofTask: id)
    }

    private func policy(_ id: Int32) throws -> String { try machine.policy(ofTask: id).description }

    private func touch(_ id: Int32) throws -> String {
        let buffer = try machine.makeBuffer("default", size: 4 * 4096)
        defer { machine.remove(buffer) }
        return try PlacementScene.touch(machine, buffer, pages: 0..<4, origin: Origin(pid: id, node: 0))
    }

    @Test("A child has what its parent had when it was made, whatever either does later")
    func inheritance() throws {
        tasks.fork(200, from: 100)
        try set("bind:2", 100)
        tasks.fork(201, from: 100)
        try set("interleave:2-3", 100)
        tasks.fork(202, from: 100)
        tasks.fork(300, from: 201)
        try set("bind:1", 201)
        tasks.fork(301, from: 201)
        #expect(try [100, 200, 201, 202, 300, 301].map(touch) == ["2323", "0000", "1111", "2323", "2222", "1111"])
        #expect(try policy(200) == "default" && policy(300) == "bind:2" && policy(202) == "interleave:2-3")
        try set("default", 100)
        tasks.fork(203, from: 100)
        #expect(try policy(203) == "default" && policy(202) == "interleave:2-3")
        #expect(machine.taskPolicies.map(\.task) == [201, 202, 300, 301])
    }

    @Test("A policy is the thread's own, and that of threads made later")
    func threads() throws {
        tasks.thread(101, of: 100)
        try set("bind:2", 100)
        tasks.thread(102, of: 100)
        try set("bind:3", 102)
        #expect(try [100, 101, 102].map(touch) == ["2222", "0000", "3333"])
    }

    @Test(
        "What is made in the tick of a change has what was so before it, or after it, also where numbers begin anew",
        arguments: [
            [101, 102, 103, 104, 105, 106], [32765, 32767, 300, 302, 303, 310], [4194300, 4194303, 301, 304, 305, 306],
        ])
    func sameTick(numbers: [Int32]) throws {
        try set("bind:1", 100)
        tasks.tick()
        tasks.makeAtOnce(numbers[0], process: 100, parent: 1)
        tasks.makeAtOnce(numbers[1], parent: 100)
        try set("bind:2", 100)
        tasks.makeAtOnce(numbers[2], process: 100, parent: 1)
        tasks.makeAtOnce(numbers[3], parent: 100)
        try set("default", 100)
        tasks.makeAtOnce(numbers[4], parent: 100)
        try set("bind:3", 100)
        tasks.makeAtOnce(numbers[5], parent: 100)
        #expect(try numbers.map(touch) == ["1111", "1111", "2222", "2222", "0000", "3333"])
        // A policy of its own comes before what it was made with.
        try set("bind:2", numbers[0])
        #expect(try [numbers[0], 100].map(touch) == ["2222", "3333"])
    }

    @Test("However often a policy changes, what was made before has what was so then")
    func manyChanges() throws {
        try set("bind:1", 100)
        tasks.tick()
        tasks.makeAtOnce(101, process: 100, parent: 1)
        for round in 0..<100 {
            try set("bind:\(2 + round % 2)", 100)
            if round.isMultiple(of: 10) { tasks.tick() }
        }
        tasks.makeAtOnce(102, process: 100, parent: 1)
        #expect(try [101, 102, 100].map(touch) == ["1111", "3333", "3333"])
    }

    @Test("What a child inherited it keeps when its parent ends")
    func orphan() throws {
        try set("bind:2", 100)
        tasks.fork(200, from: 100)
        #expect(try touch(200) == "2222")
        tasks.exit(100)
        tasks.fork(201, from: 200)
        #expect(try policy(200) == "bind:2" && policy(201) == "bind:2")
        #expect(failure { () throws(Errno) in try machine.policy(ofTask: 100) } == .noSuchProcess)
    }

    @Test("A number that is used again names another task")
    func reuse() throws {
        try set("bind:2", 100)
        try machine.setIsolation(.restricted, of: machine.node(3)!)
        try machine.setPermitted(true, process: 100, on: machine.node(3)!)
        let group = try machine.makeGroup("a", in: machine.rootGroup)
        _ = try machine.attach(process: 100, to: group)
        tasks.exit(100)
        tasks.fork(100)
        #expect(try policy(100) == "default")
        #expect(machine.permittedProcesses(on: machine.node(3)!) == [])
        #expect(try machine.group(ofProcess: 100) === machine.rootGroup)
        try set("bind:1", 100)
        tasks.fork(200, from: 100)
        #expect(try policy(200) == "bind:1")
    }

    @Test("The last eight changes of a parent are told apart")
    func history() throws {
        let words = [
            "bind:0", "bind:1", "bind:2", "bind:3", "prefer:0", "prefer:1", "prefer:2", "prefer:3", "bind:0-1",
        ]
        for (place, words) in words.enumerated() {
            try set(words, 100)
            tasks.fork(Int32(200 + place), from: 100)
        }
        for (place, words) in words.enumerated().dropFirst() { #expect(try policy(Int32(200 + place)) == words) }
    }

    @Test("Tasks that ended are forgotten, in time")
    func pruning() throws {
        for id in Int32(1000)..<4000 { tasks.fork(id) }
        for id in Int32(1000)..<4000 { try set("bind:1", id) }
        #expect(machine.taskPolicies.count == 3000)
        for id in Int32(1000)..<3990 { tasks.exit(id) }
        #expect(machine.taskPolicies.map(\.task) == Array(3990..<4000))
        var inheritance = Inheritance<Int>()
        for id in Int32(5000)..<15000 {
            tasks.fork(id)
            inheritance.set(1, of: id, tasks.task(id)!, in: tasks)
            tasks.exit(id)
        }
        #expect(inheritance.tasks.count <= 2048)
    }

    @Test("No such task, no such node, no allowed node")
    func errors() throws {
        #expect(failure { () throws(Errno) in try machine.setPolicy(.bind(1), ofTask: 999) } == .noSuchProcess)
        #expect(failure { () throws(Errno) in try machine.setPolicy(.bind(1), ofTask: 0) } == .noSuchProcess)
        #expect(failure { () throws(Errno) in try machine.setPolicy(.bind(1), ofTask: -1) } == .noSuchProcess)
        #expect(failure { () throws(Errno) in try machine.setPolicy(.bind(9), ofTask: 100) } == .invalidArgument)
        #expect(
            failure { () throws(Errno) in try machine.attach(process: 999, to: machine.rootGroup) } == .noSuchProcess)
        let node = machine.node(2)!
        #expect(
            failure { () throws(Errno) in try machine.setPermitted(true, process: 999, on: node) } == .noSuchProcess)
        #expect(
            failure { () throws(Errno) in try machine.setPermitted(false, process: 100, on: node) } == .noSuchProcess)
        // A restricted node does not hide that the task is missing.
        try machine.setIsolation(.restricted, of: node)
        #expect(failure { () throws(Errno) in try machine.setPolicy(.bind(2), ofTask: 999) } == .noSuchProcess)
        #expect(failure { () throws(Errno) in try machine.setPolicy(.bind(2), ofTask: 100) } == .notPermitted)
        #expect(try policy(100) == "default")
    }

    @Test("Relative nodes are no names: who may use what they stand for may set them")
    func relativeAccess() throws {
        let group = try machine.makeGroup("a", in: machine.rootGroup)
        _ = try machine.setMems([0, 1, 3], of: group)
        _ = try machine.attach(process: 100, to: group)
        try machine.setIsolation(.restricted, of: machine.node(3)!)
        #expect(throws: Errno.notPermitted) { try set("bind=relative:2", 100) }
        try set("bind=relative:1,3", 100)
        #expect(try touch(100) == "0000")
        let buffer = try machine.makeBuffer("default", size: 4096)
        let relative = try PlacementScene.policy("bind=relative:2", in: machine)
        #expect(failure { () throws(Errno) in try machine.setPolicy(relative, of: buffer, by: 100) } == .notPermitted)
    }

    @Test("A policy follows every change of the nodes with memory, one after the other")
    func hotplug() throws {
        try machine.setIsolation(.none, of: machine.node(3)!)
        try set("interleave:1,3", 100)
        #expect(try touch(100) == "1313")
        // Never touched in between, and no second passes.
        try machine.offline(machine.devices[1])
        #expect(try policy(100) == "interleave:0-1" && touch(100) == "0101")
        try machine.online(machine.devices[1])
        #expect(try touch(100) == "0101")
        try machine.setIsolation(.driver, of: machine.node(2)!)
        try machine.setIsolation(.none, of: machine.node(2)!)
        #expect(try touch(100) == "0101")
    }
}
