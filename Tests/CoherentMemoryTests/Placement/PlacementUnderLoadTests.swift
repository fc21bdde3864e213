import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// Threads that fault while isolation, policies and cpusets change under them: counters add up, and no page is on a node
/// that was not allowed at any moment of its fault.
@Suite("Placement under load", .timeLimit(.minutes(5)))
struct PlacementUnderLoadTests {
    private static let threads = 12
    private static let touches = 1200
    private static let pages: UInt64 = 256

    /// Everything that a fault depends on, as it stood from one change to the next.
    private struct Rules {
        var isolation: [Int: Isolation] = [2: .none, 3: .none]
        /// The group's nodes; each thread is a task in the group of its number modulo the number of groups.
        var mems: [IDSet] = [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
        /// By thread: nodes of the buffer's policy, nil for the default policy; the task's likewise.
        var buffers: [IDSet?]
        var tasks: [IDSet?]
        /// Whether the thread's task stands in `tasks` of node 2.
        var permitted: [Bool]
    }

    /// The rules one after the other. A change is written here before it is made, and `made` says how many were.
    private final class Book: Sendable {
        private let rules: Mutex<[Rules]>
        private let made = Atomic(0)

        init(_ first: Rules) { rules = Mutex([first]) }

        var last: Rules { rules.withLock { $0.last! } }
        func announce(_ next: Rules) { rules.withLock { $0.append(next) } }
        func done() { made.wrappingAdd(1, ordering: .sequentiallyConsistent) }
        var firstInForce: Int { made.load(ordering: .sequentiallyConsistent) }
        var lastAnnounced: Int { rules.withLock { $0.count - 1 } }
        func span(_ first: Int, _ last: Int) -> [Rules] { rules.withLock { Array($0[first...last]) } }
    }

    /// What is wrong with a page being where it is, nil if nothing is.
    private static func objection(to node: Int, thread: Int, in span: [Rules]) -> String? {
        // The parts of a fault may see different moments, but each sees one of them.
        guard span.contains(where: { $0.mems[thread % $0.mems.count].contains(node) }) else {
            return "not in its cpuset"
        }
        guard node >= 2 else { return nil }
        var (isNamedByBuffer, isNamedByTask, usesTask) = (false, false, false)
        for rules in span {
            if let nodes = rules.buffers[thread] {
                if nodes.contains(node) { isNamedByBuffer = true }
            } else {
                usesTask = true
            }
            if let nodes = rules.tasks[thread], nodes.contains(node) { isNamedByTask = true }
        }
        let isNamed = isNamedByBuffer || (usesTask && isNamedByTask)
        let isPermitted = node == 2 && span.contains { $0.permitted[thread] }
        let modes: Set<Isolation> = Set(span.map { (rules: Rules) -> Isolation in rules.isolation[node]! })
        if modes.contains(.none) { return nil }
        if isNamed, modes.contains(.exclusive) { return nil }
        if isNamed, isPermitted, modes.contains(.restricted) { return nil }
        return "isolated (\(modes)), \(isNamed ? "named" : "not named")"
    }

    @Test("Isolation, policies and cpusets at random under twelve faulting threads", arguments: [1, 2, 3])
    func everything(seed: UInt64) throws {
        let machine = try Machine(topology: PlacementScene.topology("four"))
        let tasks = FakeTasks()
        machine.setTaskDirectory(tasks)
        var groups: [ControlGroup] = []
        for name in ["a", "b", "c"] { groups.append(try machine.makeGroup(name, in: machine.rootGroup)) }
        var buffers: [Buffer] = []
        for thread in 0..<Self.threads {
            tasks.fork(Int32(100 + thread))
            _ = try machine.attach(process: Int32(100 + thread), to: groups[thread % groups.count])
            buffers.append(try machine.makeBuffer("default", size: Self.pages * 4096))
        }
        let nobody = [IDSet?](repeating: nil, count: Self.threads)
        let book = Book(
            Rules(buffers: nobody, tasks: nobody, permitted: [Bool](repeating: false, count: Self.threads)))
        let problems = Mutex<[String]>([])
        let allocated = Atomic<UInt64>(0)
        let running = Atomic(Self.threads)

        let faulting: [@Sendable () -> Void] = (0..<Self.threads).map { thread in
            { [buffer = buffers[thread]] in
                var random = SplitMix64(seed: seed &* 1000 &+ UInt64(thread))
                let origin = Origin(pid: Int32(100 + thread), node: thread & 1)
                for _ in 0..<Self.touches {
                    let page = UInt64.random(in: 0..<Self.pages, using: &random)
                    if machine.nodeOfPage(page, in: buffer) != nil {
                        machine.punch(buffer, bytes: page * 4096..<(page + 1) * 4096)
                    }
                    let first = book.firstInForce
                    let error = failure { () throws(Errno) in
                        try machine.bytes(of: buffer, at: page * 4096, count: 4096, origin: origin)
                    }
                    let last = book.lastAnnounced
                    guard let node = machine.nodeOfPage(page, in: buffer) else {
                        if error != .noMemory && error != .notPermitted {
                            problems.withLock { $0.append("thread \(thread): \(String(describing: error))") }
                        }
                        continue
                    }
                    allocated.wrappingAdd(1, ordering: .relaxed)
                    if let what = Self.objection(to: node, thread: thread, in: book.span(first, last)) {
                        problems.withLock {
                            $0.append("thread \(thread), node \(node): \(what), rules \(first)...\(last)")
                        }
                    }
                }
                running.wrappingSubtract(1, ordering: .sequentiallyConsistent)
            }
        }
        let changing: @Sendable () -> Void = { [groups, buffers] in
            var random = SplitMix64(seed: seed)
            while running.load(ordering: .sequentiallyConsistent) > 0 {
                do {
                    try Self.change(machine, book, groups, buffers, &random)
                } catch {
                    problems.withLock { $0.append("change: \(error)") }
                    return
                }
            }
        }
        runThreads(faulting + [changing])

        let found = problems.withLock { $0 }
        #expect(found.isEmpty, "seed \(seed): \(found.count), \(found.prefix(4))")
        #expect(book.firstInForce > 50, "\(book.firstInForce) changes")
        let statistics = machine.nodes.map(\.statistics)
        func sum(_ figure: (NodeStatistics) -> UInt64) -> UInt64 {
            var sum: UInt64 = 0
            for one in statistics { sum += figure(one) }
            return sum
        }
        let count = allocated.load(ordering: .relaxed)
        #expect(count > UInt64(Self.touches))
        #expect(sum { $0.hit + $0.miss } == count)
        #expect(sum { $0.local + $0.other } == count)
        #expect(sum { $0.miss } == sum { $0.foreign })
        var resident = 0
        for buffer in buffers { resident += buffer.residentPages }
        for node in machine.nodes { resident -= node.usage.allocated }
        #expect(resident == 0)
        try machine.checkInvariants()
    }

    private static func nodes(_ random: inout SplitMix64) -> IDSet {
        var nodes = IDSet()
        for node in 0..<4 where random.oneIn(2) { nodes.insert(node) }
        return nodes.isEmpty ? [Int.random(in: 0..<4, using: &random)] : nodes
    }

    /// Makes one change at random, and writes it into the book.
    private static func change(
        _ machine: Machine, _ book: Book, _ groups: [ControlGroup], _ buffers: [Buffer], _ random: inout SplitMix64
    ) throws {
        var rules = book.last
        let thread = Int.random(in: 0..<buffers.count, using: &random)
        let modes = ["bind", "interleave", "many", "weighted"]
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            let node = Int.random(in: 2...3, using: &random)
            let isolation = [Isolation.none, .exclusive, .restricted].randomElement(using: &random)!
            rules.isolation[node] = isolation
            book.announce(rules)
            try machine.setIsolation(isolation, of: machine.node(node)!)
        case 1:
            let group = Int.random(in: 0..<groups.count, using: &random)
            let nodes = nodes(&random)
            rules.mems[group] = nodes
            book.announce(rules)
            _ = try machine.setMems(nodes, of: groups[group])
        case 2:
            let nodes = random.oneIn(3) ? nil : nodes(&random)
            rules.buffers[thread] = nodes
            book.announce(rules)
            let words = nodes.map { "\(modes.randomElement(using: &random)!):\($0)" } ?? "default"
            try machine.setPolicy(PlacementScene.policy(words, in: machine), of: buffers[thread])
        case 3:
            let nodes = nodes(&random)
            rules.tasks[thread] = nodes
            book.announce(rules)
            let words = "\(modes.randomElement(using: &random)!)=static:\(nodes)"
            let policy = try PlacementScene.policy(words, in: machine)
            let error = failure { () throws(Errno) in try machine.setPolicy(policy, ofTask: Int32(100 + thread)) }
            if let error {
                // Out of its cpuset, or restricted: nothing has changed.
                guard error == .invalidArgument || error == .notPermitted else { throw error }
                rules.tasks[thread] = book.span(book.firstInForce, book.firstInForce)[0].tasks[thread]
                // Before `done`: otherwise a whole fault fits where only rules stand that were never in force.
                book.announce(rules)
                book.done()
            }
        default:
            let isPermitted = !rules.permitted[thread]
            rules.permitted[thread] = isPermitted
            book.announce(rules)
            try machine.setPermitted(isPermitted, process: Int32(100 + thread), on: machine.node(2)!)
        }
        book.done()
    }
}
