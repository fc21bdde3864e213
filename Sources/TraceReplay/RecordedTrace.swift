public import CoherentMemory
import MachineTopology
public import SystemPackage
public import TraceFormat

/// A recorded trace as a replay takes it: its events in the order of their times, and what it says of the machine.
public struct RecordedTrace: Sendable {
    /// The topology file of the machine; nil where the trace has none.
    public var topology: String?
    /// The facts about the record, by name.
    public var facts: [String: String] = [:]
    /// The events, ascending by time.
    public var events: [TraceEvent] = []
    /// The last name of each buffer.
    public var names: [UInt64: String] = [:]
    /// Events that the recorder lost.
    public var lost: UInt64 = 0
    /// Whether the file ends within a block.
    public var isCutOff = false
    /// The modelled nanoseconds of links during the record by device, of copies and faults, as the samples of the counters have it;
    /// empty without two samples.
    public var linkTime: [String: UInt64] = [:]

    /// Whether it has what a replay needs beside touches: requests, settings and the state at its start.
    public var isComplete: Bool { facts["replay"] != nil }

    /// A trace of events, for tests and tools that have no file.
    public init(topology: String? = nil, events: [TraceEvent]) {
        self.topology = topology
        self.events = events
        facts["replay"] = "1"
        sort()
    }

    /// Reads a file. What was cut off is left out.
    ///
    /// - Throws: `TraceFileError`.
    public init(_ file: FileDescriptor) throws(TraceFileError) {
        var reader = try TraceFileReader(file)
        var first: [String: UInt64]?
        try reader.forEachPart { part in
            switch part {
            case .fact(let name, let value): facts[name] = value
            case .topology(let text): topology = text
            case .record(.event(let event)): events.append(event)
            case .record(.lost(let count)): lost = lost.addingReportingOverflow(count).partialValue
            case .record(.name(let buffer, let name)): names[buffer] = name
            case .sample(_, let text):
                let times = Self.linkTimes(in: text)
                if let first {
                    linkTime = times.reduce(into: [:]) { $0[$1.key] = $1.value &- first[$1.key, default: 0] }
                } else {
                    first = times
                }
            }
        }
        isCutOff = reader.isCutOff
        sort()
    }

    /// Those of one moment stay in the order in which they were read.
    private mutating func sort() {
        let isSorted = zip(events, events.dropFirst()).allSatisfy { $0.time <= $1.time }
        guard !isSorted else { return }
        let order = events.indices.sorted { (events[$0].time, $0) < (events[$1].time, $1) }
        events = order.map { events[$0] }
    }

    /// Nanoseconds by device, of a sample of the counters.
    private static func linkTimes(in text: String) -> [String: UInt64] {
        var times: [String: UInt64] = [:]
        for line in text.split(separator: "\n") where line.hasPrefix("cdmfs_device_link_modelled_seconds_total{") {
            guard let start = line.firstRange(of: "device=\""), let value = line.split(separator: " ").last,
                let seconds = Double(value),
                seconds >= 0, seconds < 1e9
            else { continue }
            times[String(line[start.upperBound...].prefix { $0 != "\"" })] = UInt64((seconds * 1e9).rounded())
        }
        return times
    }
}
