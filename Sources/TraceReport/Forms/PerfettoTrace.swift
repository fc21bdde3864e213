import CoherentMemory
public import TraceFormat

/// A trace as the JSON of Chrome traces, which Perfetto opens.
public struct PerfettoTrace {
    private var names = RecordedNames()
    private var isFirst = true

    /// The groups of tracks, as processes.
    private enum Group: Int, CaseIterable {
        case tasks = 1
        case moves
        case devices
        case machine

        var name: String {
            switch self {
            case .tasks: "touches by thread"
            case .moves: "moves by buffer"
            case .devices: "devices by node"
            case .machine: "machine"
            }
        }
    }

    private var buffers: Set<UInt64> = []

    /// No part yet.
    public init() {}

    /// What the file begins with.
    public let start = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"
    /// What it ends with.
    public let end = "\n]}\n"

    /// Writes what the next part comes to.
    public mutating func add(_ part: TraceFile.Part, to output: inout some TextOutputStream) {
        if isFirst {
            for group in Group.allCases {
                emit("process_name", "M", time: nil, group, 0, ["name": .text(group.name)], to: &output)
            }
        }
        switch part {
        case .fact, .topology: break
        case .sample(let time, let text):
            for sample in MetricsText(text)
            where sample.name == "cdmfs_node_memory_bytes" && sample["state"] == "allocated" {
                guard let node = sample["node"] else { continue }
                emit(
                    "node\(node) used bytes", "C", time: time, .machine, 0, ["bytes": .number(sample.value)],
                    to: &output)
            }
        case .record(let record):
            names.add(record)
            if case .event(let event) = record { add(event, to: &output) }
        }
    }

    private mutating func add(_ event: TraceEvent, to output: inout some TextOutputStream) {
        var fields: [(String, JSON)] = event.fields(&names).map { ($0.name, .text($0.value)) }
        fields.append(("cpu_of_daemon", .text("\(event.cpu)")))
        let arguments = KeyValueList(fields)
        switch event.kind {
        case .touchPlaced where event.flags.contains(.initial): break
        case .touchPlaced, .touchRefused, .isolationRefused, .touchFound, .touchRetried:
            emit(event.kind.name, "i", time: event.time, .tasks, Int(event.pid), arguments, to: &output)
        case .migrated, .demoted, .promoted:
            if buffers.insert(event.buffer).inserted {
                emit(
                    "thread_name", "M", time: nil, .moves, Int(truncatingIfNeeded: event.buffer),
                    ["name": .text(names.buffer(event.buffer))], to: &output)
            }
            emit(
                event.kind.name, "X", time: event.time - min(event.time, event.other), length: event.other, .moves,
                Int(truncatingIfNeeded: event.buffer), arguments, to: &output)
        case .commandEnd:
            emit(
                "command", "X", time: event.time - min(event.time, event.other), length: event.other, .devices,
                Int(event.to), arguments, to: &output)
        case .linkState, .linkStalled:
            emit(event.kind.name, "i", time: event.time, .devices, Int(event.to), arguments, to: &output)
        case .commandBegin, .pagesStored, .pagesFreed, .bufferMade, .bufferRemoved, .taskPlaced, .requestMade: break
        case .blockState, .pagePoisoned, .pageRetired, .pageCleared, .pageCorrected, .pagesLost, .policySet,
            .isolationSet, .cpusetSet, .settingChanged, .nodeState:
            emit(event.kind.name, "i", time: event.time, .machine, 0, arguments, to: &output)
        }
    }

    private enum JSON {
        case text(String)
        case number(Double)

        var description: String {
            switch self {
            case .text(let text): JSONText.quoted(text)
            case .number(let number):
                number == number.rounded() && number.magnitude < 0x1p53 ? "\(Int64(number))" : "\(number)"
            }
        }
    }

    private struct KeyValueList: ExpressibleByDictionaryLiteral {
        let pairs: [(String, JSON)]
        init(_ pairs: [(String, JSON)]) { self.pairs = pairs }
        init(dictionaryLiteral pairs: (String, JSON)...) { self.pairs = pairs }
    }

    /// Microseconds with three digits behind the point.
    private static func microseconds(_ nanoseconds: UInt64) -> String {
        let rest = String(nanoseconds % 1000)
        return "\(nanoseconds / 1000)." + String(repeating: "0", count: 3 - rest.count) + rest
    }

    private mutating func emit(
        _ name: String, _ phase: String, time: UInt64?, length: UInt64? = nil, _ group: Group, _ track: Int,
        _ arguments: KeyValueList, to output: inout some TextOutputStream
    ) {
        var line = isFirst ? "" : ",\n"
        isFirst = false
        line += "{\"name\":\(JSONText.quoted(name)),\"ph\":\"\(phase)\",\"pid\":\(group.rawValue),\"tid\":\(track)"
        if let time { line += ",\"ts\":\(Self.microseconds(time))" }
        if let length { line += ",\"dur\":\(Self.microseconds(length))" }
        if phase == "i" { line += ",\"s\":\"t\"" }
        let list = arguments.pairs.map { "\(JSONText.quoted($0)):\($1.description)" }.joined(separator: ",")
        output.write(line + ",\"args\":{\(list)}}")
    }
}
