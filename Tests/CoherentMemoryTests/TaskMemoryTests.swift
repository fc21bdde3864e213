import LinuxSupport
import SystemPackage
import Testing

@testable import CoherentMemory

/// What the machine does for tasks: moving what they map, and what they inherit.
@Suite("Memory of tasks")
struct TaskMemoryTests {
    @Test("Ranges move step by step, and only from the nodes that are named")
    func steps() throws {
        let machine = try Machine(ram: 4, coherent: [4, 4])
        let buffer = try machine.makeBuffer("interleave:0-2", size: 30 << 12)
        try machine.store([UInt8](repeating: 7, count: 30 << 12), to: buffer, at: 0)
        #expect(machine.pages(of: buffer) == [0: 10, 1: 10, 2: 10])
        let ranges: [Range<UInt64>] = [0..<6 << 12, 24 << 12..<60 << 12]
        try machine.migrate(buffer, ranges: ranges, steps: [(1, 2), (0, 1)])
        // Four pages of each node are inside.
        #expect(machine.pages(of: buffer) == [0: 6, 1: 10, 2: 14])
        let runs = machine.runs(of: buffer)
        for run in runs {
            for page in run.offset >> 12..<(run.offset + run.length) >> 12 {
                let isInside = page < 6 || page >= 24
                let expected = isInside ? [1, 2, 2][Int(page % 3)] : Int(page % 3)
                #expect(run.node == expected, "page \(page)")
            }
        }
        #expect(try machine.bytes(of: buffer, at: 0, count: 30 << 12) == [UInt8](repeating: 7, count: 30 << 12))
        #expect(buffer.migration.state == .done && buffer.migration.moved == 8)
        // A range need not be whole pages, nor inside.
        try machine.migrate(buffer, ranges: [5000..<5001, 1 << 40..<1 << 41], to: 0)
        #expect(machine.pages(of: buffer) == [0: 7, 1: 10, 2: 13])
        #expect(
            failure { () throws(Errno) in try machine.migrate(buffer, ranges: ranges, steps: [(0, 9)]) }
                == .operationNotSupportedByDevice)
        try machine.checkInvariants()
    }

    @Test("A full target leaves the rest where it was and is ENOMEM; other steps go on")
    func full() throws {
        let machine = try Machine(ram: 4, coherent: [2, 2])
        let wall = try machine.makeBuffer("bind:1")
        try machine.allocate(wall, bytes: 0..<2 * mebibyte - 4 * 4096, keepsSize: false, origin: onNode0)
        let buffer = try machine.makeBuffer("interleave:0,2")
        try machine.store([UInt8](repeating: 1, count: 20 << 12), to: buffer, at: 0)
        #expect(
            failure { () throws(Errno) in
                try machine.migrate(buffer, ranges: [0..<20 << 12], steps: [(0, 1), (2, 0)])
            } == .noMemory)
        #expect(machine.pages(of: buffer) == [0: 16, 1: 4])
        try machine.checkInvariants()
    }

    @Test("residentPages counts a range as runs does")
    func resident() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let buffer = try machine.makeBuffer("interleave:0-1", size: 16 << 12)
        try machine.store([UInt8](repeating: 1, count: 5 << 12), to: buffer, at: 0)
        _ = try machine.bytes(of: buffer, at: 8 << 12, count: 2 << 12)
        let pages = machine.residentPages(of: buffer, bytes: 4096..<9 << 12)
        #expect(pages.total == 5 && pages.written == 4)
        #expect(pages.nodes.map(\.node) == [0, 1] && pages.nodes.map(\.pages) == [3, 2])
        #expect(machine.residentPages(of: buffer, bytes: 1 << 30..<1 << 40).total == 0)
    }

    /// Tasks of a made-up host.
    private final class Host: TaskDirectory {
        private let state = TracedMutex((tasks: [Int32: TaskDescription](), now: UInt64(0)))

        func start(_ id: Int32, parent: Int32, group: Int32 = 0, session: Int32 = 0) {
            state.withLock { state in
                state.now += 1
                state.tasks[id] = TaskDescription(
                    process: id, parent: parent, group: group, session: session, startTime: state.now)
            }
        }

        /// Ends a task; its children are init's.
        func end(_ id: Int32) {
            state.withLock { state in
                state.tasks[id] = nil
                for child in state.tasks.keys where state.tasks[child]?.parent == id { state.tasks[child]?.parent = 1 }
            }
        }

        func task(_ id: Int32) -> TaskDescription? { state.withLock { $0.tasks[id] } }
        var now: UInt64 {
            state.withLock { state in
                state.now += 1
                return state.now
            }
        }
        var processes: [Int32] { state.withLock { Array($0.tasks.keys) } }
        func holdsDeviceOpen(of node: Node, process: Int32) -> Bool { false }
    }

    @Test("What is inherited outlives its maker, for those of its group or session and those that were at work")
    func orphans() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let host = Host()
        machine.setTaskDirectory(host)
        host.start(1, parent: 0)
        host.start(10, parent: 1, group: 10, session: 10)
        host.start(11, parent: 10, group: 10, session: 10)
        try machine.setPolicy(MemoryPolicy(parsing: "prefer:1", available: machine.nodesWithMemory), ofTask: 10)
        host.start(12, parent: 10, group: 10, session: 10)
        host.start(13, parent: 10, group: 13, session: 10)
        host.start(14, parent: 10, group: 14, session: 14)
        host.start(15, parent: 10, group: 15, session: 15)
        machine.noteTask(15)
        host.end(10)
        func policy(_ task: Int32) throws -> String { "\(try machine.policy(ofTask: task))" }
        #expect(try policy(11) == "default", "it was there before")
        #expect(try policy(12) == "prefer:1", "of its group")
        #expect(try policy(13) == "prefer:1", "of its session")
        #expect(try policy(14) == "default", "nothing leads back")
        #expect(try policy(15) == "prefer:1", "it had asked before")
    }
}
