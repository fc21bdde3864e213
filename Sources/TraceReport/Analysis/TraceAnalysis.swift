import Charts
import CoherentMemory
import LinuxSupport
public import TraceFormat

/// What a recorded trace comes to: its parts are added in order, and then it is read as tables, text or a page.
///
/// The memory that it takes depends on the number of buffers and pages, not on the number of events: times are divided into at most 192 bins, and
/// offsets of a buffer into at most 32 rows, which become longer as the trace goes on.
public struct TraceAnalysis: Sendable {
    var names = RecordedNames()
    private(set) var facts: [(name: String, value: String)] = []
    private(set) var kinds: [TraceEvent.Kind: UInt64] = [:]
    private(set) var lost: UInt64 = 0
    private(set) var bins = TimeBins()
    private(set) var samples = CounterSamples()
    private(set) var placed: [UInt16: Placed] = [:]
    private(set) var moved: [Move: Moved] = [:]
    private(set) var refused: [Refusal: UInt64] = [:]
    private(set) var commands: [String: Command] = [:]
    private(set) var buffers: [UInt64: BufferTrack] = [:]
    private(set) var nodes = NodePlaces()
    private(set) var recovery = Recovery()
    private(set) var moments: [Moment] = []
    private(set) var omittedMoments = 0
    /// Events of buffers that were too many to be followed.
    private(set) var unfollowed: UInt64 = 0
    private var pageWise = 0

    /// Whether the file ends within a part, or with one that is damaged.
    public var isCutOff = false

    /// Touches that got frames of a node.
    struct Placed: Sendable {
        var pages: UInt64 = 0
        var elsewhere: UInt64 = 0
        var byDevice: UInt64 = 0
    }

    /// What moves have in common.
    struct Move: Hashable, Sendable, Comparable {
        let from: UInt16
        let to: UInt16
        let reason: String

        static func < (one: Move, two: Move) -> Bool {
            (one.from, one.to, one.reason) < (two.from, two.to, two.reason)
        }
    }

    /// Pages that moved, and the nanoseconds that it took.
    struct Moved: Sendable {
        var pages: UInt64 = 0
        var modelled: UInt64 = 0
        var real: UInt64 = 0
    }

    /// Why something was refused.
    struct Refusal: Hashable, Sendable, Comparable {
        let kind: TraceEvent.Kind
        let why: String
        /// The node that refused; nil where none was free.
        let node: UInt16?

        var text: String { "\(kind.name) \(why)" + (node.map { " by node\($0)" } ?? "") }
        static func < (one: Refusal, two: Refusal) -> Bool { one.text < two.text }
    }

    /// Commands of a device with one word.
    struct Command: Sendable {
        var count: UInt64 = 0
        var failed: UInt64 = 0
        var nanoseconds: UInt64 = 0
    }

    /// A failure or a change of a rule.
    struct Moment: Sendable {
        let time: UInt64
        let kind: TraceEvent.Kind
        let node: UInt16
        /// What the first event was about.
        let fields: String
        /// When the last event like it came, and how many there were: the blocks of a node go together, and the pages of a buffer.
        var last: UInt64
        var count: UInt64 = 1
    }

    /// What events have in common that make one moment.
    private struct MomentKey: Hashable {
        let kind: TraceEvent.Kind
        let detail: UInt8
        let buffer: UInt64
        let node: UInt16
        /// Of rules, which are moments of their own.
        let value: UInt64
    }

    private var latestMoments: [MomentKey: Int] = [:]
    /// Nanoseconds from an event to the next one of the same moment.
    private static let momentGap: UInt64 = 100_000_000

    /// The most moments that are kept.
    static let momentLimit = 200
    /// The most buffers that are followed page by page.
    static let bufferLimit = 20_000

    /// Nothing yet.
    public init() {}

    /// The analysis of a whole trace.
    public init(_ parts: some Sequence<TraceFile.Part>) {
        for part in parts { add(part) }
        finish()
    }

    /// Adds the next part.
    public mutating func add(_ part: TraceFile.Part) {
        switch part {
        case .fact(let name, let value):
            facts.append((name, value))
            if name == "start_ns", let time = UInt64(value) { bins.begin(at: time) }
        case .topology: break
        case .sample(let time, let text): samples.add(text, at: time, in: bin(of: time))
        case .record(let record):
            names.add(record)
            switch record {
            case .name: break
            case .lost(let count): lost &+= count
            case .event(let event): add(event)
            }
        }
    }

    /// Ends the trace.
    public mutating func finish() {
        samples.finish()
        for id in buffers.keys { buffers[id]?.finish() }
    }

    private mutating func bin(of time: UInt64) -> Int {
        var halvings = 0
        let bin = bins.place(time) { halvings += 1 }
        for _ in 0..<halvings {
            samples.halve()
            for id in buffers.keys { buffers[id]?.halve() }
        }
        return bin
    }

    private mutating func add(_ event: TraceEvent) {
        let bin = bin(of: event.time)
        follow(event, in: bin)
        // What was so before the record is no event of it.
        guard !event.flags.contains(.initial) else { return }
        kinds[event.kind, default: 0] += 1
        recovery.add(event)
        switch event.kind {
        case .touchPlaced:
            placed[event.to, default: Placed()].pages &+= event.count
            if event.from != event.to { placed[event.to]?.elsewhere &+= event.count }
            if event.flags.contains(.byDevice) { placed[event.to]?.byDevice &+= event.count }
        case .touchRefused, .isolationRefused:
            let fields = event.fields(&names)
            let why = fields.first { $0.name == "error" || $0.name == "why" }?.value ?? "-"
            let node = event.kind == .isolationRefused ? event.to : nil
            refused[Refusal(kind: event.kind, why: why, node: node), default: 0] += 1
        case .migrated, .demoted, .promoted:
            let move = Move(from: event.from, to: event.to, reason: event.moveReason?.rawValue ?? "-")
            moved[move, default: Moved()].pages &+= event.count
            moved[move]?.modelled &+= event.value
            moved[move]?.real &+= event.other
        case .commandEnd:
            let word = event.fields(&names).first { $0.name == "command" }?.value ?? "-"
            let key = "node\(event.to) \(word)"
            commands[key, default: Command()].count += 1
            if event.count != 0 { commands[key]?.failed += 1 }
            commands[key]?.nanoseconds &+= event.other
        case .commandBegin, .touchFound, .touchRetried, .pagesStored, .pagesFreed, .bufferMade, .bufferRemoved,
            .taskPlaced, .requestMade:
            break
        case .pagesLost, .blockState, .pagePoisoned, .pageRetired, .pageCleared, .pageCorrected, .linkState,
            .linkStalled,
            .policySet, .isolationSet, .cpusetSet, .settingChanged, .nodeState:
            note(event)
        }
    }

    /// Follows the pages of the event's buffer.
    private mutating func follow(_ event: TraceEvent, in bin: Int) {
        guard event.buffer != 0 else { return }
        guard buffers[event.buffer] != nil || buffers.count < Self.bufferLimit else {
            unfollowed += 1
            return
        }
        let pages = event.kind == .bufferRemoved ? 0..<UInt64.max >> Page.shift : BufferTrack.pages(of: event)
        let change: PageHistory.Change? =
            switch event.kind {
            case .touchPlaced: .placed(event.to)
            case .touchFound: .touched(event.to)
            case .migrated, .demoted, .promoted: .moved(event.kind, from: event.from, to: event.to)
            case .pagesFreed, .pagesLost, .bufferRemoved: .gone
            default: nil
            }
        let room = PageHistory.chunkLimit - pageWise
        var nodes = self.nodes
        func update(_ track: inout BufferTrack) -> Int {
            let before = track.pages.pageWise
            if !event.flags.contains(.initial) { track.events += 1 }
            let gone = change.map { track.follow(pages, $0, in: bin, &nodes, room: room) } ?? 0
            switch event.kind {
            case .touchPlaced: if !event.flags.contains(.initial) { track.placed &+= event.count }
            case .migrated, .demoted, .promoted: track.moved &+= event.count
            // A file that is cut frees whatever there is behind its new end.
            case .pagesFreed: track.freed &+= gone
            case .pagesLost:
                track.lost &+= event.count
                track.noteFailure(pages, in: bin)
            case .touchRefused:
                track.refused += 1
                track.noteFailure(pages, in: bin)
            case .isolationRefused: track.refused += 1
            case .pagePoisoned, .pageRetired:
                let page = event.value >> Page.shift
                // The page that was moved before its frame was retired is still there.
                if event.kind == .pagePoisoned { track.follow(page..<page + 1, .gone, in: bin, &nodes, room: room) }
                track.noteFailure(page..<page + 1, in: bin)
            default: break
            }
            return track.pages.pageWise - before
        }
        pageWise += update(&buffers[event.buffer, default: BufferTrack()])
        self.nodes = nodes
    }

    private mutating func note(_ event: TraceEvent) {
        let node = event.to == TraceEvent.noNode ? event.from : event.to
        let isRule = [.policySet, .isolationSet, .cpusetSet].contains(event.kind)
        let key = MomentKey(
            kind: event.kind, detail: event.detail, buffer: event.buffer, node: node, value: isRule ? event.value : 0)
        if let index = latestMoments[key], event.time >= moments[index].last,
            event.time - moments[index].last < Self.momentGap
        {
            moments[index].last = event.time
            moments[index].count += 1
            return
        }
        guard moments.count < Self.momentLimit else {
            omittedMoments += 1
            return
        }
        let fields = event.fields(&names).map { "\($0.name)=\($0.value)" }.joined(separator: " ")
        latestMoments[key] = moments.count
        moments.append(
            Moment(time: event.time, kind: event.kind, node: node, fields: fields.printable, last: event.time))
    }

    // MARK: Sums

    /// Events of all kinds.
    var eventCount: UInt64 { kinds.values.reduce(0, +) }
    /// Pages that got frames.
    var placedPages: UInt64 { placed.values.reduce(0) { $0 &+ $1.pages } }
    /// Pages that moved from one node to another.
    var movedPages: UInt64 { moved.reduce(0) { $0 &+ ($1.key.from == $1.key.to ? 0 : $1.value.pages) } }
    /// Refused touches, and requests that isolation refused.
    var refusals: UInt64 { refused.values.reduce(0, +) }
    /// Pages that were lost.
    var lostPages: UInt64 { buffers.values.reduce(0) { $0 &+ $1.lost } }

    /// What came of promoted pages.
    var promotions: PageHistory.Promotions {
        buffers.values.reduce(into: PageHistory.Promotions()) { $0 += $1.pages.promotions }
    }

    /// Pages whose history is not known, because there were too many.
    var untrackedPages: UInt64 { buffers.values.reduce(0) { $0 &+ $1.pages.untracked } }

    /// The buffers with the most pages, the largest first, that have a raster.
    func largestBuffers(_ count: Int) -> [(id: UInt64, track: BufferTrack)] {
        buffers.filter { !$0.value.raster.columns.isEmpty && !$0.value.isSparse }
            .sorted { ($0.value.mostResident, $1.key) > ($1.value.mostResident, $0.key) }
            .prefix(count).map { ($0.key, $0.value) }
    }

    /// The name of a buffer, in one line.
    func name(of buffer: UInt64) -> String {
        var names = names
        return names.buffer(buffer).printable
    }

    /// Pages that went back and forth, those with the most moves first.
    var pingPongs: [(buffer: UInt64, run: PageHistory.PingPong)] {
        buffers.flatMap { id, track in track.pages.pingPongs.map { (id, $0) } }
            .sorted { ($0.1.moves, $1.0, $1.1.pages.lowerBound) > ($1.1.moves, $0.0, $0.1.pages.lowerBound) }
    }
}
