import Charts
import CoherentMemory
public import TraceFormat

/// A trace as comma-separated values (RFC 4180): a row for each event and loss.
public struct EventTable {
    private var names = RecordedNames()

    /// The columns after time, event, cpu and pid: every field of every kind of event.
    private static let columns = [
        "buffer", "offset", "length", "node", "policy", "intended", "by", "local", "error", "why", "from", "to",
        "reason",
        "modelled_ns", "real_ns", "block", "state", "address", "count", "device", "errors", "stalled_ns", "number",
        "command", "value", "task", "nodes", "capabilities", "group",
    ]
    private static let places = Dictionary(uniqueKeysWithValues: columns.enumerated().map { ($1, $0) })

    /// A table without rows.
    public init() {}

    /// The titles of the columns.
    public let header = DataTable.commaSeparated(["time_ns", "event", "cpu", "pid"] + columns)

    /// The row of the next part of the trace; empty for a part that has none.
    public mutating func row(of part: TraceFile.Part) -> String {
        guard case .record(let record) = part else { return "" }
        names.add(record)
        var row = [String](repeating: "", count: Self.columns.count)
        let start: [String]
        switch record {
        case .name: return ""
        case .lost(let count):
            start = ["", "lost", "", ""]
            row[Self.places["count"]!] = "\(count)"
        case .event(let event):
            start = ["\(event.time)", event.kind.name, "\(event.cpu)", "\(event.pid)"]
            for (name, value) in event.fields(&names) {
                if let place = Self.places[name] { row[place] = value == "-" ? "" : value }
            }
        }
        return DataTable.commaSeparated(start + row)
    }
}
