import CoherentMemory
import MachineTopology
import SystemPackage

@testable import TraceReplay

/// A machine of which every event is kept, with times that the test has in its hand.
final class Recording {
    let machine: Machine
    private let log = Log()
    private var work = Machine.BackgroundWork()

    private final class Log {
        var events: [TraceEvent] = []
        var now: UInt64 = 1_000_000_000
    }

    init(_ toml: String) throws {
        machine = try Machine(topology: try Topology(toml: toml))
        machine.beginReplay()
        let log = log
        machine.trace.setConsumer { event in
            var event = event
            event.time = log.now
            log.events.append(event)
        }
        var snapshot = TraceSnapshot(of: machine, at: 0)
        while let events = snapshot.next() { log.events += events }
        for index in log.events.indices { log.events[index].time = log.now }
    }

    /// Does something, and what the machine does in the background then.
    func step(_ body: (Machine) throws -> Void) {
        log.now += 1_000_000
        machine.setReplayTime(Int64(log.now - 1_000_000_000))
        try? body(machine)
        machine.moveMisplaced()
        machine.doBackgroundWork(&work) { self.wait(milliseconds: 100) }
    }

    func wait(milliseconds: UInt64) {
        log.now += milliseconds * 1_000_000
        machine.setReplayTime(Int64(log.now - 1_000_000_000))
    }

    var trace: RecordedTrace { RecordedTrace(events: log.events) }

    /// Where two placements differ; empty where they do not.
    static func difference(_ a: [UInt64: [UInt64: Int]], _ b: [UInt64: [UInt64: Int]]) -> String {
        Set(a.keys).union(b.keys).sorted().compactMap { buffer in
            let (a, b) = (a[buffer] ?? [:], b[buffer] ?? [:])
            let pages = Set(a.keys).union(b.keys).filter { a[$0] != b[$0] }.sorted()
            return pages.isEmpty
                ? nil
                : "#\(buffer): "
                    + pages.prefix(8).map { "\($0): \(a[$0] ?? -1) not \(b[$0] ?? -1)" }.joined(separator: ", ")
        }.joined(separator: "; ")
    }

    /// What the last replay's machine has recorded.
    private var replayed: [TraceEvent] = []

    /// Where a replay leaves the record, with what was before; empty if it does not.
    var divergence: String {
        struct Names: TraceNames {
            mutating func buffer(_ id: UInt64) -> String { "#\(id)" }
            mutating func device(ofNode node: Int) -> String { "node\(node)" }
            mutating func task(_ pid: Int32) -> Int32 { pid }
        }
        var names = Names()
        func text(_ event: TraceEvent) -> String {
            "\(event.kind.name) \(event.fields(&names).filter { $0.name != "real_ns" }.map { "\($0.name)=\($0.value)" }.joined(separator: " ")) \(event.flags.rawValue)"
        }
        let compared: [TraceEvent.Kind] = [
            .touchPlaced, .touchRefused, .touchRetried, .migrated, .demoted, .promoted, .pagesLost, .pagePoisoned,
            .pageRetired, .blockState,
        ]
        let events = trace.events
        let own = events.indices.filter { compared.contains(events[$0].kind) && !events[$0].flags.contains(.initial) }
        let other = replayed.filter { compared.contains($0.kind) }
        for (place, index) in own.enumerated() {
            let expected = text(events[index])
            let found = place < other.count ? text(other[place]) : "nothing"
            guard expected != found else { continue }
            let before = events[max(0, index - 12)...min(events.count - 1, index + 2)].map(text)
            return "recorded \(expected)\nreplayed \(found)\nafter\n" + before.joined(separator: "\n")
        }
        return ""
    }

    /// The nodes of all pages, by buffer: what the machine has, not what its events say.
    static func placement(of machine: Machine) -> [UInt64: [UInt64: Int]] {
        var placement: [UInt64: [UInt64: Int]] = [:]
        for buffer in machine.buffers {
            var pages: [UInt64: Int] = [:]
            for run in machine.runs(of: buffer) where !run.isPoisoned && !run.isLost {
                for page in run.offset >> Page.shift..<(run.offset + run.length) >> Page.shift {
                    pages[page] = run.node
                }
            }
            if !pages.isEmpty { placement[buffer.id] = pages }
        }
        return placement
    }

    /// The same, as events have it.
    static func placement(of figures: TraceFigures) -> [UInt64: [UInt64: Int]] {
        var placement: [UInt64: [UInt64: Int]] = [:]
        for buffer in figures.buffers {
            for (range, node) in figures.placement(of: buffer) {
                for page in range { placement[buffer, default: [:]][page] = node }
            }
        }
        return placement
    }

    var figures: TraceFigures {
        var figures = TraceFigures()
        for event in trace.events { figures.add(event) }
        return figures
    }

    func replay(_ options: ReplayOptions = ReplayOptions()) throws -> Replay {
        let replay = try Replay(trace, on: machine.topology, options: options)
        replayed = []
        replay.observer = { self.replayed.append($0) }
        replay.run()
        try replay.machine.checkInvariants()
        return replay
    }
}

extension Machine {
    /// Reads pages as a fault with its read-around does.
    func fault(_ buffer: Buffer, _ pages: Range<UInt64>, by origin: Origin) throws {
        try unsafe read(
            buffer, at: pages.lowerBound << Page.shift, length: pages.count << Int(Page.shift), origin: origin
        ) { _ in }
    }

    /// Stores a byte to each page, as write(2) does.
    func store(_ buffer: Buffer, _ pages: Range<UInt64>, by origin: Origin) throws {
        let bytes = [UInt8](repeating: 1, count: pages.count << Int(Page.shift))
        _ = try unsafe bytes.withUnsafeBytes {
            unsafe try write($0, to: buffer, at: pages.lowerBound << Page.shift, origin: origin, isGrowing: true)
        }
    }
}
