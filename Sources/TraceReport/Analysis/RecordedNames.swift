import CoherentMemory
import TraceFormat

/// The names that a trace has told so far.
struct RecordedNames: TraceNames, Sendable {
    private var names: [UInt64: String] = [:]

    mutating func add(_ record: TraceRecord) {
        if case .name(let buffer, let text) = record { names[buffer] = text }
    }

    mutating func buffer(_ id: UInt64) -> String { names[id] ?? "#\(id)" }
    mutating func device(ofNode node: Int) -> String { "node\(node)" }
    mutating func task(_ pid: Int32) -> Int32 { pid }
}
