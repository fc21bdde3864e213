import CoherentMemory
import Foundation
import MachineTopology
import SystemPackage

/// Measures what it costs to decide where a page goes: first touches in the machine alone, without a mount.
@main
struct PlacementBenchmark {
    static func main() throws {
        print("| first touch of a page, alone | median | beside no policy |")
        print("|---|---|---|")
        var scenes = [
            Scene("no policy"), Scene("buffer policy, bind", buffer: "bind:0"),
            Scene("buffer policy, interleave", buffer: "interleave:0-1"),
            Scene("no policy, every event traced", isTraced: true),
            Scene("no policy, every event traced and kept out by a filter", isTraced: true, isFiltered: true),
            Scene("task policy", task: "bind:0"), Scene("cpuset", mems: [0, 1]),
            Scene("task policy and cpuset", task: "bind:0", mems: [0, 1]),
            Scene("10 tasks with policies, 10 groups", task: "bind:0", mems: [0, 1], tasks: 10, groups: 10),
            Scene("10,000 tasks with policies, 10 groups", task: "bind:0", mems: [0, 1], tasks: 10_000, groups: 10),
            Scene(
                "10,000 tasks with policies, 1,000 groups", task: "bind:0", mems: [0, 1], tasks: 10_000, groups: 1000),
        ]
        for place in scenes.indices { try scenes[place].prepare() }
        // In turn, so that whatever else the host does meets all of them. The first round warms up.
        for round in 0..<16 {
            for place in scenes.indices { try scenes[place].measure(counts: round > 0) }
        }
        for scene in scenes {
            let ratio = scene.median / scenes[0].median
            print("| \(scene.title) | \(Int(scene.median)) ns | \(String(format: "%.2f", ratio)) |")
        }
        // Round by round, for each touch of these records one event.
        for scene in scenes where scene.isTraced {
            print("an event, \(scene.title): \(Int(scene.medianDifference(to: scenes[0]))) ns")
        }
    }
}

/// Tasks 1000, 1001, …, each a process of its own.
private struct ManyTasks: TaskDirectory {
    let count: Int32

    func task(_ id: Int32) -> TaskDescription? {
        (1000..<1000 + count).contains(id) ? TaskDescription(process: id, parent: 1, startTime: UInt64(id)) : nil
    }

    var now: UInt64 { 1 << 20 }
    var processes: [Int32] { Array(1000..<1000 + count) }
    func holdsDeviceOpen(of node: Node, process: Int32) -> Bool { false }
}

/// One row: what is in force while pages are touched.
private struct Scene {
    let title: String
    var buffer: String?
    var task: String?
    var mems: IDSet?
    var tasks = 1
    var groups = 1
    var isTraced = false
    var isFiltered = false
    private var machine: Machine?
    private var rounds: [Double] = []
    private static let pages = 20_000

    init(
        _ title: String, buffer: String? = nil, task: String? = nil, mems: IDSet? = nil, tasks: Int = 1,
        groups: Int = 1, isTraced: Bool = false, isFiltered: Bool = false
    ) {
        self.title = title
        self.buffer = buffer
        self.task = task
        self.mems = mems
        self.tasks = tasks
        self.groups = groups
        self.isTraced = isTraced
        self.isFiltered = isFiltered
    }

    /// The median of a first touch in nanoseconds.
    var median: Double { rounds.sorted()[rounds.count / 2] }

    /// The median of the nanoseconds by which a first touch takes longer than in another row, round by round.
    func medianDifference(to other: Scene) -> Double {
        let differences = zip(rounds, other.rounds).map { $0 - $1 }.sorted()
        return differences[differences.count / 2]
    }

    mutating func prepare() throws {
        let machine = try Machine(
            topology: Topology(
                blockSize: 2 << 20,
                nodes: [.ram(id: 0, memory: 256 << 20, cpus: [0, 1]), .coherent(id: 1, memory: 256 << 20)]))
        machine.setTaskDirectory(ManyTasks(count: Int32(tasks)))
        if let mems {
            for place in 0..<groups {
                let group = try machine.makeGroup("g\(place)", in: machine.rootGroup)
                _ = try machine.setMems(mems, of: group)
                for id in stride(from: place, to: tasks, by: groups) {
                    _ = try machine.attach(process: Int32(1000 + id), to: group)
                }
            }
        }
        if let task {
            let policy = try MemoryPolicy(parsing: task, available: machine.nodesWithMemory)
            for id in 0..<tasks { try machine.setPolicy(policy, ofTask: Int32(1000 + id)) }
        }
        if isTraced { try machine.trace.updateEnabledKinds { $0 = .all } }
        if isFiltered { machine.trace.main.filter = TraceFilter([[TraceFilter.Test(.node, 7)]]) }
        self.machine = machine
    }

    /// One round of first touches, by ten of the tasks in turn.
    mutating func measure(counts: Bool) throws {
        guard let machine else { return }
        let memory = machine.makeBuffer()
        defer { machine.remove(memory) }
        try machine.resize(memory, to: UInt64(Self.pages) * 4096)
        if let buffer {
            try machine.setPolicy(MemoryPolicy(parsing: buffer, available: machine.nodesWithMemory), of: memory)
        }
        let step = max(1, tasks / 10)
        let start = ContinuousClock.now
        for page in 0..<Self.pages {
            let id = Int32(1000 + page % 10 * step % tasks)
            try unsafe machine.read(
                memory, at: UInt64(page) * 4096, length: 4096, origin: Origin(pid: id, node: 0)
            ) { _ in }
        }
        let elapsed = (ContinuousClock.now - start).components
        guard counts else { return }
        rounds.append((Double(elapsed.attoseconds) * 1e-9 + Double(elapsed.seconds) * 1e9) / Double(Self.pages))
    }
}
