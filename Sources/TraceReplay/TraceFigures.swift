public import CoherentMemory
import TraceFormat

/// What events of a machine amount to, recorded or replayed: the same sums of both.
public struct TraceFigures: Sendable {
    /// From a node to a node.
    public struct Way: Hashable, Comparable, Sendable {
        /// The ids of the nodes.
        public var from: Int, to: Int

        /// Ascending by the source.
        public static func < (a: Way, b: Way) -> Bool { (a.from, a.to) < (b.from, b.to) }
    }

    /// Pages that touches placed, by node.
    public private(set) var placed: [Int: UInt64] = [:]
    /// Touches that were refused, by the number of their error.
    public private(set) var refused: [UInt64: UInt64] = [:]
    /// Requests that isolation turned away or sent elsewhere, by what happened and by node.
    public private(set) var isolated: [IsolationRefusal: [Int: UInt64]] = [:]
    /// Pages that moved, by reason and way.
    public private(set) var moved: [MoveReason: [Way: UInt64]] = [:]
    /// Modelled nanoseconds of links for these, by way.
    public private(set) var copyTime: [Way: UInt64] = [:]
    /// Pages whose memory failed.
    public private(set) var poisoned: UInt64 = 0
    /// Frames that were taken out of use after their pages had moved.
    public private(set) var retired: UInt64 = 0
    /// Pages that were lost with a link.
    public private(set) var lost: UInt64 = 0
    /// Pages of zeros that reclaim freed.
    public private(set) var reclaimed: UInt64 = 0

    /// The node of each page of a buffer.
    private var maps: [UInt64: PageMap<UInt16>] = [:]

    /// Nothing yet.
    public init() {}

    /// Counts an event.
    public mutating func add(_ event: TraceEvent) {
        let (end, overflow) = event.start.addingReportingOverflow(event.count)
        let pages = event.start..<(overflow ? event.start : end)
        func add(_ count: UInt64, to sum: inout UInt64) { sum = sum &+ count }
        switch event.kind {
        case .touchPlaced:
            maps[event.buffer, default: PageMap(TraceEvent.noNode)].set(pages, to: event.to)
            if !event.flags.contains(.initial) { add(event.count, to: &placed[Int(event.to), default: 0]) }
        case .touchRefused: add(1, to: &refused[event.value, default: 0])
        case .isolationRefused:
            guard let refusal = IsolationRefusal(rawValue: event.detail) else { return }
            add(1, to: &isolated[refusal, default: [:]][Int(event.to), default: 0])
        case .migrated, .demoted, .promoted:
            maps[event.buffer, default: PageMap(TraceEvent.noNode)].set(pages, to: event.to)
            guard let reason = event.moveReason else { return }
            let way = Way(from: Int(event.from), to: Int(event.to))
            add(event.count, to: &moved[reason, default: [:]][way, default: 0])
            if event.value > 0 { add(event.value, to: &copyTime[way, default: 0]) }
        case .pagesFreed:
            maps[event.buffer]?.set(pages, to: nil)
            if event.detail == 1 { add(event.count, to: &reclaimed) }
        case .pagesLost:
            maps[event.buffer]?.set(pages, to: nil)
            add(event.count, to: &lost)
        case .pagePoisoned:
            let page = event.value >> Page.shift
            if event.buffer != 0 { maps[event.buffer]?.set(page..<page + 1, to: nil) }
            add(1, to: &poisoned)
        case .pageRetired: add(1, to: &retired)
        case .bufferRemoved: maps[event.buffer] = nil
        case .requestMade where event.detail == TraceEvent.Request.remap.rawValue:
            maps[event.buffer]?.move(pages, to: event.other)
        default: break
        }
    }

    /// The buffers that have pages, ascending.
    public var buffers: [UInt64] { maps.filter { !$0.value.all.isEmpty }.keys.sorted() }

    /// The pages of a buffer, in runs of one node, ascending.
    public func placement(of buffer: UInt64) -> [(pages: Range<UInt64>, node: Int)] { maps[buffer]?.all ?? [] }

    /// The number of pages of a buffer on each node.
    public func pages(of buffer: UInt64) -> [Int: UInt64] { maps[buffer]?.counts ?? [:] }

    /// The number of pages on each node.
    public var pages: [Int: UInt64] {
        maps.values.reduce(into: [:]) { sum, map in for (node, count) in map.counts { sum[node, default: 0] += count } }
    }
}

extension PageMap where State == UInt16 {
    /// Puts pages on a node, or with nil on none.
    fileprivate mutating func set(_ pages: Range<UInt64>, to node: UInt16?) {
        update(pages, onlyKnown: node == nil) { state, _ in state = node ?? TraceEvent.noNode }
    }

    /// Moves pages to where none are.
    fileprivate mutating func move(_ pages: Range<UInt64>, to start: UInt64) {
        var moved: [(pages: Range<UInt64>, node: UInt16)] = []
        forEachRun(in: pages) { moved.append(($0, $1)) }
        set(pages, to: nil)
        for run in moved {
            let (new, overflow) = start.addingReportingOverflow(run.pages.lowerBound - pages.lowerBound)
            guard !overflow, new <= UInt64.max - UInt64(run.pages.count) else { return }
            set(new..<new + UInt64(run.pages.count), to: run.node)
        }
    }

    /// The runs of pages of one node, ascending.
    fileprivate var all: [(pages: Range<UInt64>, node: Int)] {
        var runs: [(pages: Range<UInt64>, node: Int)] = []
        forEachRun { runs.append(($0, Int($1))) }
        return runs
    }

    /// The number of pages on each node.
    fileprivate var counts: [Int: UInt64] {
        all.reduce(into: [:]) { $0[$1.node, default: 0] += UInt64($1.pages.count) }
    }
}
