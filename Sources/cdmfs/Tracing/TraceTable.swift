import CoherentMemory
import TraceFormat

/// A trace as comma-separated values (RFC 4180): a row for each event and loss.
struct TraceTable {
    private var names = RecordedNames()

    /// The columns after time, event, cpu and pid: every field of every kind of event.
    private static let columns = [
        "buffer", "offset", "length", "node", "policy", "intended", "by", "local", "error", "why", "from", "to",
        "reason",
        "modelled_ns", "real_ns", "block", "state", "address", "count", "device", "errors", "stalled_ns", "number",
        "command", "value", "task", "nodes", "capabilities", "group",
    ]
    private static let places = Dictionary(uniqueKeysWithValues: columns.enumerated().map { ($1, $0) })

    let header = (["time_ns", "event", "cpu", "pid"] + columns).joined(separator: ",") + "\r\n"

    mutating func add(_ part: TraceFile.Part, to output: inout ReportOutput) {
        guard case .record(let record) = part else { return }
        names.add(record)
        var row = [String](repeating: "", count: Self.columns.count)
        var start: [String]
        switch record {
        case .name: return
        case .lost(let count):
            start = ["", "lost", "", ""]
            row[Self.places["count"]!] = "\(count)"
        case .event(let event):
            start = ["\(event.time)", event.kind.name, "\(event.cpu)", "\(event.pid)"]
            for (name, value) in event.fields(&names) {
                if let place = Self.places[name] { row[place] = value == "-" ? "" : value }
            }
        }
        output.write((start + row).map(Self.quoted).joined(separator: ",") + "\r\n")
    }

    private static func quoted(_ text: String) -> String {
        guard text.utf8.contains(where: { [0x22, 0x2c, 0x0a, 0x0d].contains($0) }) else { return text }
        return "\"" + text.replacing("\"", with: "\"\"") + "\""
    }
}
