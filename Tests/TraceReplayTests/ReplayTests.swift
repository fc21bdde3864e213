import CoherentMemory
import MachineTopology
import SystemPackage
import TestSupport
import Testing
import TraceFormat

@testable import TraceReplay

/// What happened to a machine happens to another one, page by page.
@Suite("Replay", .timeLimit(.minutes(2))) struct ReplayTests {
    /// Two nodes of RAM and two devices, all small enough to be full soon.
    private static let machine = TopologyText.file(
        block: "2M",
        [
            TopologyText.ram(0, "8M", cpus: "0"), TopologyText.ram(1, "4M", cpus: "1"),
            TopologyText.coherent(2, "8M", "device = \"cdm0\"", "isolation = \"none\""),
            TopologyText.coherent(5, "4M", "device = \"cdm1\"", "isolation = \"exclusive\""),
        ])

    /// A program of random steps, the same from the same seed, whatever the machine answers.
    private struct Program {
        var random: SplitMix64
        var buffers: [Buffer] = []
        /// What it does, of the steps below.
        let kinds: [Int]

        mutating func number(_ range: Range<Int>) -> Int { Int.random(in: range, using: &random) }

        mutating func pages(_ longest: Int = 40) -> Range<UInt64> {
            let start = UInt64(number(0..<600))
            return start..<start + UInt64(number(1..<longest + 1))
        }

        mutating func policy() -> String {
            [
                "default", "bind:1", "bind:1-2", "prefer:2", "interleave:0-2", "weighted interleave:0-1,5", "local",
                "bind:5",
            ][
                number(0..<8)]
        }

        mutating func step(_ machine: Machine, _ text: String?) throws {
            if buffers.count < 4 || number(0..<60) == 0 {
                let buffer = machine.makeBuffer()
                try machine.resize(buffer, to: 4 << 20)
                if let text {
                    try machine.setPolicy(MemoryPolicy(parsing: text, available: machine.nodesWithMemory), of: buffer)
                }
                buffers.append(buffer)
            }
            let buffer = buffers[number(0..<buffers.count)]
            let origin = Origin(pid: Int32(number(100..<103)), node: number(0..<2))
            let pages = pages()
            let bytes = pages.lowerBound << Page.shift..<pages.upperBound << Page.shift
            let target = [0, 1, 2, 5][number(0..<4)]
            switch kinds[number(0..<kinds.count)] {
            case 0..<4: try machine.fault(buffer, pages, by: origin)
            case 4..<6: try machine.store(buffer, pages, by: origin)
            case 6: machine.punch(buffer, bytes: bytes)
            case 7: try machine.migrate(buffer, bytes: bytes, to: target)
            case 8: try machine.allocate(buffer, bytes: bytes, keepsSize: true, origin: origin)
            case 9:
                machine.remove(buffer)
                buffers.removeAll { $0 === buffer }
            case 10: try machine.migrate(buffer, ranges: [bytes], steps: [(source: 0, target: target)])
            case 11: try machine.resize(buffer, to: bytes.upperBound)
            case 12:
                let policy = try MemoryPolicy(parsing: policy(), available: machine.nodesWithMemory)
                try machine.setPolicy(policy, of: buffer)
            case 13:
                let policy = try MemoryPolicy(parsing: policy(), available: machine.nodesWithMemory)
                try machine.setPolicy(policy, of: buffer, bytes: bytes)
            case 14:
                let words = [Isolation.none, .exclusive, .restricted]
                try machine.setIsolation(words[number(0..<3)], of: machine.nodes[2])
            case 15:
                let numbers = machine.nodes.flatMap { machine.blockNumbers(of: $0) }
                guard let block = numbers.randomElement(using: &random).flatMap({ machine.block($0) }) else { return }
                if block.state == .online { try machine.offline(block) } else { try machine.online(block) }
            case 16: try machine.poison(address: UInt64(number(0..<6144)) << Page.shift)
            case 17:
                try machine.poison(
                    buffer, bytes: pages.lowerBound << Page.shift..<(pages.lowerBound + 1) << Page.shift, origin: origin
                )
            case 18: try machine.softOffline(address: UInt64(number(0..<6144)) << Page.shift)
            case 19:
                guard number(0..<4) == 0 else { return }
                let device = machine.devices[number(0..<2)]
                if device.linkState == .up { machine.cutLink(of: device) } else { machine.restoreLink(of: device) }
            case 20:
                machine.autoOnline = number(0..<2) == 0 ? .online : .offline
                try machine.rescan()
            case 21: try machine.setPinned(number(0..<3) == 0, of: buffer)
            case 22: try machine.setInterleaveWeight(number(1..<5), of: machine.nodes[number(0..<4)])
            default:
                let policy = try MemoryPolicy(parsing: policy(), available: machine.nodesWithMemory)
                _ = machine.conform(buffer, bytes: bytes, to: policy, local: origin.node)
            }
        }
    }

    private func run(
        seed: UInt64, steps: Int = 300, policy: String? = nil, kinds: [Int] = Array(0..<12),
        demotion: Bool = false,
        toml: String = machine
    ) throws -> Recording {
        let recording = try Recording(toml)
        recording.step { $0.isDemotionEnabled = demotion }
        var program = Program(random: SplitMix64(seed: seed), kinds: kinds)
        for _ in 0..<steps { recording.step { try program.step($0, policy) } }
        try recording.machine.checkInvariants()
        return recording
    }

    private func expectSame(_ recording: Recording, _ replay: Replay, _ comment: String) {
        #expect(recording.divergence == "", "\(comment)")
        let expected = Recording.placement(of: recording.machine)
        #expect(
            Recording.difference(Recording.placement(of: recording.figures), expected) == "", "the record, \(comment)")
        #expect(Recording.difference(Recording.placement(of: replay.figures), expected) == "", "the replay, \(comment)")
        let own = Recording.placement(of: replay.machine).values.map(\.count).sorted()
        #expect(own == expected.values.map(\.count).sorted(), "the replay's machine, \(comment)")
        #expect(replay.figures.refused == recording.figures.refused, "refusals, \(comment)")
        #expect(replay.figures.isolated == recording.figures.isolated, "isolation, \(comment)")
        #expect(replay.figures.moved == recording.figures.moved, "moves, \(comment)")
        #expect(replay.figures.copyTime == recording.figures.copyTime, "links, \(comment)")
    }

    @Test("Random programs are replayed page by page", arguments: 1...12 as ClosedRange<UInt64>)
    func random(seed: UInt64) throws {
        let recording = try run(seed: seed)
        try expectSame(recording, recording.replay(), "seed \(seed)")
    }

    @Test("So are those that change rules, blocks, links and frames", arguments: 1...12 as ClosedRange<UInt64>)
    func rules(seed: UInt64) throws {
        let recording = try run(seed: seed, kinds: Array(0..<24))
        try expectSame(recording, recording.replay(), "seed \(seed)")
    }

    @Test("So are demotions", arguments: 1...6 as ClosedRange<UInt64>)
    func demotion(seed: UInt64) throws {
        let policy = seed % 2 == 0 ? "prefer:0" : "interleave:0-1"
        let recording = try run(
            seed: seed, steps: 500, policy: policy, kinds: [0, 1, 2, 4, 5, 8, 4, 5, 7], demotion: true)
        #expect(recording.figures.moved[.demotion] != nil || recording.figures.reclaimed > 0)
        try expectSame(recording, recording.replay(), "seed \(seed)")
    }

    @Test(
        "A replay under another policy is what the program does under that policy",
        arguments: ["bind:1", "bind:0-1", "interleave:0-2", "prefer:2", "weighted interleave:1-2", "prefer (many):2,5"])
    func variant(policy: String) throws {
        for seed in 1...4 as ClosedRange<UInt64> {
            for other in ["default", "bind:2", "interleave:0-1"] {
                let replay = try run(seed: seed, policy: other).replay(ReplayOptions(policy: policy))
                let real = try run(seed: seed, policy: policy)
                #expect(
                    Recording.placement(of: replay.figures) == Recording.placement(of: real.machine),
                    "seed \(seed), \(other) recorded")
                #expect(replay.figures.moved == real.figures.moved)
            }
        }
    }

    @Test("A replay with demotion is what the program does with demotion, and so with another isolation")
    func otherRules() throws {
        func program(demotion: Bool, isolation: Isolation?) throws -> Recording {
            let recording = try Recording(Self.machine)
            recording.step { machine in
                machine.isDemotionEnabled = demotion
                guard let isolation else { return }
                for node in machine.nodes where node.kind == .coherent { try machine.setIsolation(isolation, of: node) }
            }
            let buffer = recording.machine.makeBuffer()
            for start in stride(from: 0, to: 3000, by: 8) as StrideTo<UInt64> {
                recording.step { try $0.store(buffer, start..<start + 8, by: Origin(pid: 7, node: 0)) }
                recording.wait(milliseconds: 200)
            }
            return recording
        }
        let plain = try program(demotion: false, isolation: nil)
        let demoted = try program(demotion: true, isolation: nil)
        #expect(demoted.figures.moved[.demotion] != nil)
        var replay = try plain.replay(ReplayOptions(demotion: true))
        #expect(Recording.placement(of: replay.figures) == Recording.placement(of: demoted.machine))
        #expect(replay.figures.moved == demoted.figures.moved)
        replay = try demoted.replay(ReplayOptions(demotion: false))
        #expect(Recording.placement(of: replay.figures) == Recording.placement(of: plain.machine))
        for isolation in [Isolation.exclusive, .restricted, .none] {
            let real = try program(demotion: false, isolation: isolation)
            replay = try plain.replay(ReplayOptions(isolation: isolation))
            #expect(Recording.placement(of: replay.figures) == Recording.placement(of: real.machine), "\(isolation)")
            #expect(replay.figures.refused == real.figures.refused, "\(isolation)")
        }
    }

    @Test("Memory of programs: first touches, fork, mremap and munmap")
    func programs() throws {
        let recording = try Recording(Self.machine)
        var random = SplitMix64(seed: 3)
        var spaces: [Buffer] = []
        recording.step { spaces.append($0.makeAddressSpace()) }
        for _ in 0..<200 {
            let address = UInt64.random(in: 0..<2000, using: &random) << Page.shift
            let bytes = address..<address + UInt64.random(in: 1..<30, using: &random) << Page.shift
            let space = spaces.randomElement(using: &random)!
            let choice = Int.random(in: 0..<10, using: &random)
            recording.step { machine in
                switch choice {
                case 0..<5:
                    _ = try machine.touch(space, at: address, around: bytes, origin: Origin(pid: 9, node: choice % 2))
                case 5: machine.discard(space, bytes: bytes)
                case 6: machine.unmap(space, bytes: bytes)
                case 7: machine.move(bytes, of: space, to: address + 4000 << Page.shift)
                case 8:
                    let policy = try MemoryPolicy(parsing: "interleave:0-1", available: machine.nodesWithMemory)
                    try machine.setPolicy(policy, of: space, bytes: bytes)
                default:
                    guard spaces.count < 4 else { return }
                    let child = machine.makeAddressSpace()
                    machine.copy(space, to: child)
                    spaces.append(child)
                }
            }
        }
        try expectSame(recording, recording.replay(), "programs")
    }

    @Test("Memory of programs in huge pages: promises, first touches, moves and munmap")
    func hugePages() throws {
        let recording = try Recording(Self.machine)
        var random = SplitMix64(seed: 7)
        var mappings: [Buffer] = []
        recording.step { machine in for node in machine.nodes { machine.setHugePages(2, of: node) } }
        for _ in 0..<200 {
            let unit = UInt64.random(in: 0..<4, using: &random)
            let bytes = unit * HugePage.size..<(unit + 1) * HugePage.size
            let (choice, number) = (Int.random(in: 0..<10, using: &random), Int.random(in: 0..<4, using: &random))
            let mapping = mappings.randomElement(using: &random)
            recording.step { machine in
                let origin = Origin(pid: 9, node: choice % 2)
                guard let mapping, choice < 9 else {
                    if mappings.count < 4 {
                        mappings.append(try machine.makeHugeMapping(reserving: number, origin: origin))
                    }
                    return
                }
                switch choice {
                case 0..<4: _ = try machine.touch(mapping, at: bytes.lowerBound, around: bytes, origin: origin)
                case 4: machine.discard(mapping, bytes: bytes)
                case 5: machine.unmap(mapping, bytes: bytes)
                case 6: try machine.migrate(mapping, ranges: [bytes], to: [0, 1, 2, 5][number])
                case 7: machine.setHugePages(number, of: machine.nodes[number])
                default:
                    machine.remove(mapping)
                    mappings.removeAll { $0 === mapping }
                }
            }
        }
        let replay = try recording.replay()
        try expectSame(recording, replay, "huge pages")
        #expect(replay.machine.reservedHugePages == recording.machine.reservedHugePages)
    }

    @Test("Commands of devices, and moves that follow their accesses")
    func devices() throws {
        let recording = try Recording(Self.machine)
        var random = SplitMix64(seed: 5)
        var buffer: Buffer!
        recording.step { machine in
            buffer = machine.makeBuffer()
            try machine.resize(buffer, to: 4 << 20)
            try machine.devices[0].policy.setDeviceFaults(1)
        }
        for _ in 0..<100 {
            let start = UInt64.random(in: 0..<900, using: &random) << Page.shift
            let choice = Int.random(in: 0..<4, using: &random)
            let device = recording.machine.devices[Int.random(in: 0..<2, using: &random)]
            recording.step { machine in
                let range = try BufferRange(buffer, at: start, length: 64 << 10)
                let other = try BufferRange(buffer, at: 0, length: 64 << 10)
                switch choice {
                case 0:
                    try machine.fault(
                        buffer, start >> Page.shift..<start >> Page.shift + 16, by: Origin(pid: 1, node: 0))
                case 1: try machine.submit([.fill(range, 3)], to: device, by: 1)
                case 2: try machine.submit([.copy(from: range, to: other)], to: device, by: 1)
                default: try machine.submit([.crc32(range)], to: device, by: 1)
                }
                _ = device.queue.waitUntilIdle(seconds: 60)
            }
        }
        let (expected, replay) = (recording.figures, try recording.replay())
        #expect(Recording.placement(of: replay.figures) == Recording.placement(of: recording.machine))
        #expect(replay.figures.moved == expected.moved)
    }

    @Test("A record that begins late has what was there before")
    func late() throws {
        let first = try run(seed: 4, steps: 100, policy: "interleave:0-2")
        var snapshot = TraceSnapshot(of: first.machine, at: 0)
        var events: [TraceEvent] = []
        while let more = snapshot.next() { events += more }
        let replay = try Replay(RecordedTrace(events: events), on: first.machine.topology, options: ReplayOptions())
        replay.run()
        #expect(Recording.placement(of: replay.figures) == Recording.placement(of: first.machine))
        #expect(replay.notes.contains { $0.contains("before the record") })
    }

    @Test("The comparison: the columns, the same figures each time, and as text and JSON")
    func comparison() throws {
        let recording = try run(seed: 2, policy: "bind:2")
        var trace = recording.trace
        trace.names = [4: "a \"b\"\n"]
        let variants = [ReplayOptions(policy: "interleave:0-1"), ReplayOptions(policy: "bind:1", demotion: true)]
        let topology = recording.machine.topology
        let comparison = try ReplayComparison(of: trace, on: topology, variants: variants)
        #expect(comparison.columns.map(\.name) == ["recorded", "replayed", "interleave:0-1", "bind:1, demotion on"])
        #expect(try comparison == ReplayComparison(of: trace, on: topology, variants: variants))
        for section in comparison.sections where !section.title.contains("faults and copies") {
            for row in section.rows {
                #expect(row.values.count == 4 && row.values[0] == row.values[1], "\(section.title): \(row.name)")
            }
        }
        #expect(comparison.text.contains("pages at the end"))
        #expect(
            comparison.json.contains("\"unit\":\"pages\"")
                && comparison.json.hasPrefix("{\"columns\":[{\"name\":\"recorded\""))
    }

    @Test("Policies that are none, nodes that are missing, and events with any numbers")
    func hostile() throws {
        let recording = try run(seed: 1, steps: 50)
        let topology = recording.machine.topology
        for policy in ["", "bind", "bind:9", "what:0", "interleave:0-99999999999"] {
            #expect(throws: ReplayError.policy(policy)) {
                try Replay(recording.trace, on: topology, options: ReplayOptions(policy: policy))
            }
        }
        let small = try Topology(toml: "[[node]]\nid = 7\nkind = \"ram\"\nmemory = \"1G\"\ncpus = \"all\"\n")
        #expect(throws: ReplayError.self) { try Replay(recording.trace, on: small, options: ReplayOptions()) }
        var random = SplitMix64(seed: 11)
        for round in 0..<30 {
            var events: [TraceEvent] = []
            for _ in 0..<200 {
                var words = InlineArray<8, UInt64>(repeating: 0)
                for index in 0..<8 {
                    let width = [4, 12, 24, 52, 63, 64].randomElement(using: &random)!
                    words[index] = UInt64.random(in: 0 ... .max, using: &random) >> UInt64(64 - width)
                }
                let kind = TraceEvent.Kind.allCases.randomElement(using: &random)!
                words[1] = words[1] & ~255 | UInt64(kind.rawValue)
                if round % 2 == 0 {
                    words[5] = words[5] & 0xffff_0000_0000_0000 | [0, 1 << 16, 2 << 16 | 5][Int(words[0] % 3)]
                }
                // Reserves are as large as they say.
                if var event = TraceEvent(words: words) {
                    if ![0, 1, 2, 5].contains(event.to) || event.kind != .touchPlaced { event.to = 0 }
                    events.append(event)
                }
            }
            let replay = try Replay(RecordedTrace(events: events), on: topology, options: ReplayOptions())
            replay.run()
        }
    }
}
