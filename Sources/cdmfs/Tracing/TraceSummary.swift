import CoherentMemory
import TraceFormat

/// What a trace comes to, as tables of text.
struct TraceSummary {
    private var names = RecordedNames()
    private var facts: [(name: String, value: String)] = []
    private var kinds: [TraceEvent.Kind: Int] = [:]
    private var lost: UInt64 = 0
    private var first: UInt64?
    private var last: UInt64 = 0
    private var samples = 0
    private var placed: [UInt16: Placed] = [:]
    private var moved: [Move: Moved] = [:]
    private var refused: [String: Int] = [:]
    private var commands: [String: Command] = [:]
    private var buffers: [UInt64: OfBuffer] = [:]
    private var timeline: [String] = []
    private var omitted = 0

    private struct Placed {
        var pages: UInt64 = 0
        var elsewhere: UInt64 = 0
        var byDevice: UInt64 = 0
    }

    private struct Move: Hashable {
        let from: UInt16
        let to: UInt16
        let reason: String
    }

    private struct Moved {
        var pages: UInt64 = 0
        var modelled: UInt64 = 0
        var real: UInt64 = 0
    }

    private struct Command {
        var count = 0
        var failed = 0
        var nanoseconds: UInt64 = 0
    }

    private struct OfBuffer {
        var events = 0
        var placed: UInt64 = 0
        var moved: UInt64 = 0
        var refused = 0
        var lost: UInt64 = 0
    }

    /// The most lines of the timeline of failures.
    private static let timelineLimit = 200
    /// The buffers that are shown.
    private static let bufferLimit = 10

    mutating func add(_ part: TraceFile.Part) {
        switch part {
        case .fact(let name, let value): facts.append((name, value))
        case .topology: break
        case .sample: samples += 1
        case .record(let record):
            names.add(record)
            switch record {
            case .name: break
            case .lost(let count): lost &+= count
            case .event(let event): add(event)
            }
        }
    }

    private mutating func add(_ event: TraceEvent) {
        // What was so before the record.
        guard !event.flags.contains(.initial) else { return }
        kinds[event.kind, default: 0] += 1
        first = min(first ?? event.time, event.time)
        last = max(last, event.time)
        if event.buffer != 0 { buffers[event.buffer, default: OfBuffer()].events += 1 }
        switch event.kind {
        case .touchPlaced:
            placed[event.to, default: Placed()].pages &+= event.count
            if event.from != event.to { placed[event.to]?.elsewhere &+= event.count }
            if event.flags.contains(.byDevice) { placed[event.to]?.byDevice &+= event.count }
            buffers[event.buffer]?.placed &+= event.count
        case .touchRefused, .isolationRefused:
            let fields = event.fields(&names)
            let why = fields.first { $0.name == "error" || $0.name == "why" }?.value ?? "-"
            let place = event.kind == .isolationRefused ? " by node\(event.to)" : ""
            refused["\(event.kind.name) \(why)\(place)", default: 0] += 1
            buffers[event.buffer]?.refused += 1
        case .migrated, .demoted, .promoted:
            let move = Move(from: event.from, to: event.to, reason: event.moveReason?.rawValue ?? "-")
            moved[move, default: Moved()].pages &+= event.count
            moved[move]?.modelled &+= event.value
            moved[move]?.real &+= event.other
            buffers[event.buffer]?.moved &+= event.count
        case .commandEnd:
            let word = event.fields(&names).first { $0.name == "command" }?.value ?? "-"
            let key = "node\(event.to) \(word)"
            commands[key, default: Command()].count += 1
            if event.count != 0 { commands[key]?.failed += 1 }
            commands[key]?.nanoseconds &+= event.other
        case .commandBegin, .touchFound, .touchRetried, .pagesStored, .pagesFreed, .bufferMade, .bufferRemoved,
            .taskPlaced:
            break
        case .pagesLost:
            buffers[event.buffer]?.lost &+= event.count
            note(event)
        case .blockState, .pagePoisoned, .pageRetired, .pageCleared, .pageCorrected, .linkState, .linkStalled,
            .policySet,
            .isolationSet, .cpusetSet, .settingChanged, .requestMade, .nodeState:
            note(event)
        }
    }

    private mutating func note(_ event: TraceEvent) {
        guard timeline.count < Self.timelineLimit else {
            omitted += 1
            return
        }
        let fields = event.fields(&names).map { "\($0.name)=\($0.value)" }.joined(separator: " ")
        timeline.append("\(Self.seconds(event.time &- (first ?? event.time))) \(event.kind.name) \(fields)")
    }

    // MARK: Text

    var text: String {
        var text = ""
        for (name, value) in facts where !value.isEmpty { text += "\(name) \(value)\n" }
        var names = names
        text += "seconds \(Self.seconds(last &- (first ?? last)))\nsamples \(samples)\nlost \(lost)\n"
        text += Self.table(
            "events", ["EVENT", "COUNT"],
            TraceEvent.Kind.allCases.compactMap { kind in kinds[kind].map { [kind.name, "\($0)"] } })
        text += Self.table(
            "touches", ["NODE", "PAGES", "MEANT-ELSEWHERE", "BY-DEVICE"],
            placed.sorted { $0.key < $1.key }.map {
                ["\($0.key)", "\($0.value.pages)", "\($0.value.elsewhere)", "\($0.value.byDevice)"]
            })
        text += Self.table(
            "moves", ["FROM", "TO", "REASON", "PAGES", "MODELLED-NS", "REAL-NS"],
            moved.sorted { ($0.key.from, $0.key.to, $0.key.reason) < ($1.key.from, $1.key.to, $1.key.reason) }.map {
                [
                    "\($0.key.from)", "\($0.key.to)", $0.key.reason, "\($0.value.pages)", "\($0.value.modelled)",
                    "\($0.value.real)",
                ]
            })
        text += Self.table(
            "refusals", ["WHY", "COUNT"], refused.sorted { $0.key < $1.key }.map { [$0.key, "\($0.value)"] })
        text += Self.table(
            "commands", ["COMMAND", "COUNT", "FAILED", "NS"],
            commands.sorted { $0.key < $1.key }.map {
                [$0.key, "\($0.value.count)", "\($0.value.failed)", "\($0.value.nanoseconds)"]
            })
        let most = buffers.sorted { ($0.value.events, $1.key) > ($1.value.events, $0.key) }
        text += Self.table(
            "buffers", ["BUFFER", "EVENTS", "PLACED", "MOVED", "REFUSED", "LOST"],
            most.prefix(Self.bufferLimit).map {
                [
                    names.buffer($0.key).printable, "\($0.value.events)", "\($0.value.placed)", "\($0.value.moved)",
                    "\($0.value.refused)", "\($0.value.lost)",
                ]
            })
        if most.count > Self.bufferLimit { text += "and \(most.count - Self.bufferLimit) more\n" }
        if !timeline.isEmpty {
            text += "\ntimeline\n" + timeline.map { $0.printable + "\n" }.joined()
            if omitted > 0 { text += "and \(omitted) more\n" }
        }
        return text
    }

    /// Seconds with microseconds.
    private static func seconds(_ nanoseconds: UInt64) -> String {
        let rest = String(nanoseconds / 1000 % 1_000_000)
        return "\(nanoseconds / 1_000_000_000)." + String(repeating: "0", count: 6 - rest.count) + rest
    }

    /// A table with a title, the first columns to the left, figures to the right; nothing for no rows.
    private static func table(_ title: String, _ header: [String], _ rows: [[String]]) -> String {
        guard !rows.isEmpty else { return "" }
        let all = [header] + rows
        let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        let lines = all.map { row in
            row.indices.map { column in
                let blanks = String(repeating: " ", count: widths[column] - row[column].count)
                return column == 0 ? row[column] + blanks : blanks + row[column]
            }.joined(separator: "  ")
        }
        return "\n\(title)\n" + lines.map { $0 + "\n" }.joined()
    }
}
