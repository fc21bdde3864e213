import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// What is recorded is what happened, and every reader gets each event or is told that it lost it.
@Suite("Trace", .timeLimit(.minutes(2)))
struct TraceTests {
    /// What a reader has had.
    private struct Seen {
        var events: [TraceEvent] = []
        var lost: UInt64 = 0

        subscript(kind: TraceEvent.Kind) -> [TraceEvent] { events.filter { $0.kind == kind } }
    }

    private func read(_ trace: Tracer, _ cursor: inout TraceInstance.Cursor) -> Seen {
        var seen = Seen()
        trace.main.read(&cursor) { item in
            switch item {
            case .event(let event): seen.events.append(event)
            case .lost(_, let count): seen.lost += count
            }
            return true
        }
        return seen
    }

    private func machine(_ kinds: TraceKinds = .all, ram: UInt64 = 16, coherent: [UInt64] = [16]) throws -> Machine {
        let machine = try Machine(ram: ram, coherent: coherent)
        try machine.trace.updateEnabledKinds { $0 = kinds }
        return machine
    }

    // MARK: What happened

    @Test("Words and events are each other")
    func words() {
        for kind in TraceEvent.Kind.allCases {
            var event = TraceEvent(
                kind, detail: 200, pid: -7, buffer: .max - 1, start: 3, count: 4, from: 5, to: 6, local: 7,
                flags: [.byDevice, .range], value: 8, other: .max)
            (event.time, event.cpu) = (1 << 63, 65535)
            #expect(TraceEvent(words: event.words) == event)
            #expect(TraceEvent.Kind(name: kind.name) == kind)
        }
        #expect(Set(TraceEvent.Kind.allCases.map(\.name)).count == TraceEvent.Kind.allCases.count)
        #expect(TraceEvent(words: [0, 255, 0, 0, 0, 0, 0, 0]) == nil)
    }

    @Test("Touches: pages, node, policy, who; what is off is not recorded")
    func touches() throws {
        let machine = try machine([])
        let buffer = try machine.makeBuffer("prefer:1", size: 64 * 4096)
        var cursor = machine.trace.main.makeCursor()
        _ = try machine.bytes(of: buffer, at: 0, count: 4096)
        #expect(read(machine.trace, &cursor).events.isEmpty && !machine.trace.main.hasItem(at: cursor))
        try machine.trace.updateEnabledKinds { $0 = TraceKinds(.touchPlaced) }
        _ = try machine.bytes(of: buffer, at: 4096, count: 4096, origin: Origin(pid: 42, node: 0))
        // Pages 0 and 1 are there: the rest is one run.
        _ = try machine.bytes(of: buffer, at: 0, count: 32 * 4096, origin: Origin(pid: 43, node: 0))
        _ = try machine.bytes(of: buffer, at: 0, count: 32 * 4096)
        let events = read(machine.trace, &cursor).events
        #expect(events.map(\.kind) == [.touchPlaced, .touchPlaced])
        #expect(events.map(\.pid) == [42, 43] && events.map(\.buffer) == [buffer.id, buffer.id])
        #expect(events.map(\.start) == [1, 2] && events.map(\.count) == [1, 30])
        #expect(events.allSatisfy { $0.to == 1 && $0.from == 1 && $0.local == 0 && $0.flags == [] })
        #expect(events.allSatisfy { $0.detail == UInt8(MemoryPolicy.Mode.prefer.constant) })
        #expect(events[0].time <= events[1].time)
        #expect(read(machine.trace, &cursor).events.isEmpty)
    }

    @Test("Touches of every page of a walk through policies add up to the placement")
    func placement() throws {
        let machine = try machine(TraceKinds(.touchPlaced), ram: 16, coherent: [16, 16])
        var cursor = machine.trace.main.makeCursor()
        for policy in ["default", "bind:1", "interleave:0-2", "weighted interleave:1-2", "prefer:2", "local"] {
            let buffer = try machine.makeBuffer(policy, size: 100 * 4096)
            _ = try machine.bytes(of: buffer, at: 3 * 4096, count: 10 * 4096)
            _ = try machine.bytes(of: buffer, at: 0, count: 100 * 4096)
            var nodes: [UInt64: Int] = [:]
            for event in read(machine.trace, &cursor).events {
                #expect(event.buffer == buffer.id)
                for page in event.start..<event.start + event.count {
                    #expect(nodes.updateValue(Int(event.to), forKey: page) == nil, "page \(page) twice")
                }
            }
            #expect(nodes.count == 100)
            for (page, node) in nodes { #expect(machine.nodeID(of: buffer, at: page * 4096) == node) }
        }
    }

    @Test("Refusals: no frame, isolation")
    func refusals() throws {
        let machine = try machine([TraceKinds(.touchRefused), TraceKinds(.isolationRefused)], ram: 2, coherent: [2])
        var cursor = machine.trace.main.makeCursor()
        let full = try machine.makeBuffer("bind:0", size: 4 * mebibyte)
        var refused: Errno?
        for page in 0..<600 where refused == nil {
            refused = failure { () throws(Errno) in
                _ = try machine.bytes(of: full, at: UInt64(page) * 4096, count: 4096, origin: Origin(pid: 9, node: 0))
            }
        }
        #expect(refused == .noMemory)
        let one = read(machine.trace, &cursor)[.touchRefused]
        #expect(one.count == 1 && one[0].value == UInt64(Errno.noMemory.rawValue) && one[0].pid == 9)
        #expect(one[0].buffer == full.id && one[0].start == UInt64(full.residentPages) && one[0].count == 1)

        // By default pages may not fall back to the exclusive node.
        let other = try machine.makeBuffer("default", size: 4096)
        #expect(failure { () throws(Errno) in _ = try machine.bytes(of: other, at: 0, count: 4096) } == .noMemory)
        let two = read(machine.trace, &cursor)
        #expect(two[.isolationRefused].map(\.to) == [1])
        #expect(two[.isolationRefused].map(\.detail) == [IsolationRefusal.fallback.rawValue])
        #expect(UInt64(two[.isolationRefused].count) == machine.node(1)!.statistics.refusedFallback)
        #expect(two[.touchRefused].map(\.buffer) == [other.id])
    }

    @Test("Moves: the runs, and times that add up to the counters")
    func moves() throws {
        let machine = try machine([TraceKinds(.migrated), TraceKinds(.demoted)])
        let device = machine.devices[0]
        try device.updateLink { $0.writeLatency = 1000 }
        var cursor = machine.trace.main.makeCursor()
        let buffer = try machine.makeBuffer("bind:0", size: 1200 * 4096)
        try machine.store([UInt8](repeating: 1, count: 1200 * 4096), to: buffer, at: 0)
        machine.punch(buffer, bytes: 10 * 4096..<11 * 4096)
        try machine.migrate(buffer, to: 1)
        let events = read(machine.trace, &cursor)[.migrated]
        #expect(events.map(\.start) == [0, 11, 512, 1024] && events.map(\.count) == [10, 501, 512, 176])
        #expect(events.allSatisfy { $0.from == 0 && $0.to == 1 && $0.moveReason == .buffer && $0.buffer == buffer.id })
        #expect(events.reduce(0) { $0 + $1.value } == device.copies.modelledNanoseconds)
        #expect(events.allSatisfy { $0.other > 0 })
        #expect(events.reduce(0) { $0 + $1.count } == machine.transfers.reduce(0) { $0 + $1.pages })

        #expect(try machine.migrateAtOnce(buffer, bytes: 0..<4 * 4096, to: 0))
        let more = read(machine.trace, &cursor)[.migrated]
        #expect(more.map(\.start) == [0] && more.map(\.count) == [4] && more[0].from == 1 && more[0].to == 0)
    }

    @Test("Demotion has a kind of its own")
    func demotion() throws {
        let machine = try machine([TraceKinds(.migrated), TraceKinds(.demoted)])
        try machine.setIsolation(.none, of: machine.node(1)!)
        var cursor = machine.trace.main.makeCursor()
        let buffer = try machine.makeBuffer("default", size: 512 * 4096)
        try machine.store([UInt8](repeating: 1, count: 512 * 4096), to: buffer, at: 0)
        let freed = try machine.reclaim(100, of: machine.node(0)!, demotingTo: [machine.node(1)!], waitForUse: {})
        let events = read(machine.trace, &cursor)
        let moved = machine.transfers.filter { $0.reason == .demotion }.reduce(0) { $0 + $1.pages }
        #expect(freed >= 100 && moved >= 100)
        #expect(events[.migrated].isEmpty && events[.demoted].reduce(0) { $0 + $1.count } == moved)
    }

    @Test("Blocks, poison, soft offlining, links")
    func failures() throws {
        let machine = try machine()
        let device = machine.devices[0]
        var cursor = machine.trace.main.makeCursor()
        let block = try #require(machine.block(8))
        try machine.offline(block)
        try machine.online(block)
        let blocks = read(machine.trace, &cursor)[.blockState]
        #expect(blocks.map { TraceEvent.Kind.blockStates[Int($0.detail)] } == ["going-offline", "offline", "online"])
        #expect(blocks.allSatisfy { $0.start == 8 && $0.to == 1 })

        let buffer = try machine.makeBuffer("bind:1", size: 8 * 4096)
        try machine.store([UInt8](repeating: 1, count: 8 * 4096), to: buffer, at: 0)
        func address(_ page: UInt64) -> UInt64 {
            machine.runs(of: buffer).first { $0.offset <= page << 12 && page << 12 < $0.offset + $0.length }
                .map { $0.physicalAddress + page << 12 - $0.offset } ?? 0
        }
        let (poisoned, retired) = (address(3), address(5))
        try machine.poison(address: poisoned)
        try machine.softOffline(address: retired)
        try machine.clearFailure(address: poisoned)
        let failures = read(machine.trace, &cursor)
        #expect(failures[.pagePoisoned].map(\.start) == [poisoned] && failures[.pagePoisoned][0].buffer == buffer.id)
        #expect(failures[.pagePoisoned][0].value == 3 << 12)
        #expect(failures[.pageRetired].map(\.start) == [retired] && failures[.pageCleared].map(\.start) == [poisoned])

        try device.setRetraining(1000)
        try machine.injectLinkErrors(3, of: device)
        machine.cutLink(of: device)
        machine.restoreLink(of: device)
        let links = read(machine.trace, &cursor)
        #expect(links[.linkStalled].map(\.value) == [3000] && links[.linkStalled][0].count == 3)
        #expect(links[.linkState].map(\.detail) == [0, 1] && links[.linkState].allSatisfy { $0.to == 1 })
        #expect(links[.pagesLost].reduce(0) { $0 + $1.count } == 7)
        #expect(links[.pagesLost].allSatisfy { $0.buffer == buffer.id && $0.from == 1 })
        #expect(links[.blockState].allSatisfy { $0.detail == 3 } && links[.blockState].count == 8)
    }

    @Test("Commands, policies, isolation, cpusets")
    func commandsAndRules() throws {
        let machine = try machine()
        var cursor = machine.trace.main.makeCursor()
        let buffer = try machine.makeBuffer("interleave:0-1", size: 8 * 4096)
        try machine.setPolicy(.bind(1), of: buffer, bytes: 4096..<3 * 4096, by: 5)
        let group = try machine.makeGroup("g", in: machine.rootGroup)
        _ = try machine.setMems([0], of: group)
        try machine.setIsolation(.none, of: machine.node(1)!)
        let rules = read(machine.trace, &cursor)
        #expect(rules[.policySet].map(\.value) == [3, 2] && rules[.policySet].map(\.start) == [0, 1])
        #expect(rules[.policySet].map(\.flags) == [[], .range] && rules[.policySet][1].count == 2)
        #expect(rules[.cpusetSet].map(\.value) == [1] && rules[.cpusetSet][0].other == group.id)
        #expect(rules[.isolationSet].map(\.value) == [UInt64(Isolation.none.capabilities.rawValue)])

        let device = machine.devices[0]
        try machine.submit(
            [.fill(BufferRange(buffer, at: 0, length: 100), 1), .read(BufferRange(buffer, at: 0, length: 1 << 20))],
            to: device, by: 77)
        #expect(device.queue.waitUntilIdle(seconds: 10))
        let commands = read(machine.trace, &cursor)
        #expect(commands[.commandBegin].map(\.value) == [1, 2] && commands[.commandEnd].map(\.value) == [1, 2])
        #expect(commands[.commandBegin].map { DeviceCommand.words[Int($0.detail)] } == ["fill", "read"])
        #expect(commands[.commandEnd].map(\.count) == [0, UInt64(Errno.badAddress.rawValue)])
        #expect(commands[.commandEnd][0].start == 100)
        #expect(commands[.touchPlaced].allSatisfy { $0.flags.contains(.byDevice) && $0.pid == 77 })
    }

    @Test("A filter by buffer, node and task")
    func filter() throws {
        let machine = try machine(TraceKinds(.touchPlaced))
        var cursor = machine.trace.main.makeCursor()
        let (a, b) = (try machine.makeBuffer("bind:0", size: 1 << 20), try machine.makeBuffer("bind:1", size: 1 << 20))
        var page: UInt64 = 0
        func passing(_ alternatives: [[TraceFilter.Test]]) throws -> [String] {
            machine.trace.main.filter = TraceFilter(alternatives)
            #expect(machine.trace.main.filter.alternatives == TraceFilter(alternatives).alternatives)
            for (name, buffer) in [("a", a), ("b", b)] {
                for pid: Int32 in [1, 2] {
                    _ = try machine.bytes(
                        of: buffer, at: page << 12, count: 4096, origin: Origin(pid: pid, node: 0))
                    page += 1
                    _ = name
                }
            }
            return read(machine.trace, &cursor).events.map { ($0.buffer == a.id ? "a" : "b") + "\($0.pid)" }
        }
        #expect(try passing([]) == ["a1", "a2", "b1", "b2"])
        #expect(try passing([[.init(.buffer, a.id)]]) == ["a1", "a2"])
        #expect(try passing([[.init(.node, 1)]]) == ["b1", "b2"])
        #expect(try passing([[.init(.node, 1, isNegated: true), .init(.pid, 2)]]) == ["a2"])
        #expect(
            try passing([[.init(.buffer, a.id), .init(.pid, 1)], [.init(.buffer, b.id), .init(.pid, 2)]]) == [
                "a1", "b2",
            ])
        #expect(try passing([[.init(.pid, 3)]]) == [])
        #expect(try passing([]) == ["a1", "a2", "b1", "b2"])
    }

    // MARK: Readers

    private func touch(_ number: UInt64, by thread: Int32 = 0) -> TraceEvent {
        TraceEvent(.touchPlaced, pid: thread, start: number)
    }

    @Test("What is overwritten is lost to the reader that did not have it, and counted")
    func overwritten() throws {
        let trace = Tracer()
        try trace.main.setKilobytes(4)
        try trace.updateEnabledKinds { $0 = .all }
        var (quick, slow) = (trace.main.makeCursor(), trace.main.makeCursor())
        var had: [UInt64] = []
        for number in 0..<1000 as Range<UInt64> {
            trace.record(touch(number))
            if number % 10 == 0 {
                let seen = read(trace, &quick)
                #expect(seen.lost == 0)
                had += seen.events.map(\.start)
            }
        }
        had += read(trace, &quick).events.map(\.start)
        #expect(had.sorted() == Array(0..<1000))
        let rest = read(trace, &slow)
        #expect(rest.lost > 0 && rest.lost + UInt64(rest.events.count) == 1000)
        // The newest are there; who records stays mostly on its CPU.
        #expect(rest.events.map(\.start).max() == 999)
        #expect(!trace.main.hasItem(at: slow))
        // Whoever comes now begins behind what anybody has had.
        var late = trace.main.makeCursor()
        #expect(read(trace, &late).events.isEmpty)
    }

    @Test("The first reader begins with the oldest event")
    func backlog() throws {
        let trace = Tracer()
        try trace.updateEnabledKinds { $0 = .all }
        for number in 0..<100 as Range<UInt64> { trace.record(touch(number)) }
        var first = trace.main.makeCursor()
        #expect(read(trace, &first).events.map(\.start) == Array(0..<100))
    }

    @Test("A reader that stops in between goes on where it was")
    func pieces() throws {
        let trace = Tracer()
        try trace.updateEnabledKinds { $0 = .all }
        var cursor = trace.main.makeCursor()
        for number in 0..<300 as Range<UInt64> { trace.record(touch(number)) }
        var had: [UInt64] = []
        while trace.main.hasItem(at: cursor) {
            var left = 7
            trace.main.read(&cursor) { item in
                guard left > 0, case .event(let event) = item else { return false }
                left -= 1
                had.append(event.start)
                return true
            }
        }
        #expect(had == Array(0..<300))
    }

    @Test("A flood by several threads: each reader has had or lost every event, while sizes, filters and kinds change")
    func flood() throws {
        let trace = Tracer()
        try trace.main.setKilobytes(16)
        try trace.updateEnabledKinds { $0 = .all }
        let (writers, each) = (4, 20_000 as UInt64)
        let isOver = Atomic(false)
        let finished = Atomic(0)
        let results = Mutex<[Seen]>([])
        let cursors = (0..<3).map { _ in trace.main.makeCursor() }
        let writing: [@Sendable () -> Void] = (0..<writers).map { writer in
            {
                for number in 0..<each {
                    trace.record(
                        TraceEvent(
                            .touchPlaced, pid: Int32(writer + 1), start: number, count: number &* 31, value: number ^ 5,
                            other: number + UInt64(writer)))
                }
                finished.wrappingAdd(1, ordering: .sequentiallyConsistent)
            }
        }
        let reading: [@Sendable () -> Void] = cursors.map { start in
            {
                var cursor = start
                var seen = Seen()
                func step() {
                    let part = read(trace, &cursor)
                    seen.events += part.events
                    seen.lost += part.lost
                }
                while finished.load(ordering: .sequentiallyConsistent) < writers { step() }
                step()
                let result = seen
                results.withLock { $0.append(result) }
                isOver.store(true, ordering: .sequentiallyConsistent)
            }
        }
        let changing: @Sendable () -> Void = {
            var round = 0
            while !isOver.load(ordering: .sequentiallyConsistent) {
                round += 1
                try? trace.main.setKilobytes(round % 2 == 0 ? 16 : 4)
                trace.main.filter = round % 3 == 0 ? TraceFilter([[.init(.pid, 99, isNegated: true)]]) : TraceFilter([])
                SystemThread.sleep(for: .milliseconds(1))
            }
        }
        runThreads(writing + reading + [changing])
        let all = results.withLock { $0 }
        #expect(all.count == cursors.count)
        for seen in all {
            #expect(seen.lost + UInt64(seen.events.count) == UInt64(writers) * each)
            #expect(Set(seen.events.map { [UInt64($0.pid), $0.start] }).count == seen.events.count, "twice")
            for event in seen.events {
                let isWhole =
                    event.count == event.start &* 31 && event.value == event.start ^ 5
                    && event.other == event.start + UInt64(event.pid - 1)
                #expect(isWhole, "torn: \(event)")
                if !isWhole { break }
            }
            for writer in 1...writers {
                let own = seen.events.filter { $0.pid == Int32(writer) }
                #expect(Set(own.map(\.start)).isSubset(of: Set(0..<each)))
            }
        }
    }

    @Test("A change of size keeps what is there, the next one lets go of it; a change of clock erases")
    func resizing() throws {
        let trace = Tracer()
        try trace.main.setKilobytes(8)
        try trace.updateEnabledKinds { $0 = .all }
        var (a, b, c) = (trace.main.makeCursor(), trace.main.makeCursor(), trace.main.makeCursor())
        for number in 0..<10 as Range<UInt64> { trace.record(touch(number)) }
        try trace.main.setKilobytes(16)
        for number in 10..<20 as Range<UInt64> { trace.record(touch(number)) }
        let one = read(trace, &a)
        #expect(one.lost == 0 && one.events.map(\.start).sorted() == Array(0..<20))
        try trace.main.setKilobytes(4)
        trace.record(touch(20))
        let two = read(trace, &b)
        #expect(two.lost == 10 && two.events.map(\.start).sorted() == Array(10..<21))
        #expect(read(trace, &a).events.map(\.start) == [20])
        try trace.main.setClock(.boot)
        #expect(trace.main.clock == .boot)
        trace.record(touch(21))
        let three = read(trace, &c)
        #expect(three.lost == 21 && three.events.map(\.start) == [21])
        for size in [0, 3, TraceInstance.kilobyteRange.upperBound + 1, -1] {
            #expect(failure { () throws(Errno) in try trace.main.setKilobytes(size) } == .invalidArgument)
        }
        #expect(trace.main.kilobytes == 4)
    }

    @Test("Who sleeps is woken by an event, whatever was switched off and on meanwhile")
    func waking() throws {
        let trace = Tracer()
        try trace.updateEnabledKinds { $0 = .all }
        let rounds: UInt64 = 2000
        let read = Atomic<UInt64>(0)
        let start = trace.main.makeCursor()
        runThreads([
            {
                var cursor = start
                var had: UInt64 = 0
                while had < rounds {
                    trace.sleep(forEvents: true) { trace.main.hasItem(at: cursor) }
                    trace.main.read(&cursor) { _ in
                        had += 1
                        return true
                    }
                    read.store(had, ordering: .sequentiallyConsistent)
                }
            },
            {
                for number in 0..<rounds {
                    if number % 100 == 0 {
                        try? trace.updateEnabledKinds { $0 = [] }
                        try? trace.updateEnabledKinds { $0 = .all }
                    }
                    trace.record(TraceEvent(.touchPlaced, start: number))
                    // Each is to be had before the next one comes, so that a wake-up that is missing shows.
                    while number % 7 == 0, read.load(ordering: .sequentiallyConsistent) <= number { sched() }
                }
            },
        ])
        #expect(read.load(ordering: .sequentiallyConsistent) == rounds)
    }
}

private func sched() { SystemThread.sleep(for: .microseconds(10)) }
