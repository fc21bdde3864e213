import TraceFormat

/// The counters of a trace over time, as far as pictures and checks need them.
struct CounterSamples: Sendable {
    /// The used memory of nodes at the end of a bin.
    struct Column: Sendable {
        var bin: Int
        let time: UInt64
        /// Bytes by node.
        let allocated: [Int: Double]
    }

    /// A counter: its name, and its labels as text.
    typealias Counters = [String: Double]

    /// In order.
    private(set) var columns: [Column] = []
    private(set) var count = 0
    private var pending: (bin: Int, time: UInt64, text: String)?
    /// Counters at the first and last sample.
    private(set) var first: Counters = [:]
    private(set) var last: Counters = [:]

    mutating func add(_ text: String, at time: UInt64, in bin: Int) {
        if count == 0 { first = Self.counters(text) }
        count += 1
        // Of the samples of a bin the last one is kept, and the others are not even parsed.
        if let pending, pending.bin != bin { keep(pending) }
        pending = (bin, time, text)
    }

    mutating func finish() {
        guard let pending else { return }
        keep(pending)
        last = Self.counters(pending.text)
        self.pending = nil
    }

    private mutating func keep(_ sample: (bin: Int, time: UInt64, text: String)) {
        if columns.last?.bin == sample.bin { columns.removeLast() }
        var allocated: [Int: Double] = [:]
        for part in MetricsText(sample.text)
        where part.name == "cdmfs_node_memory_bytes" && part["state"] == "allocated" && part.value.isFinite {
            if let node = part["node"].flatMap({ Int($0) }) { allocated[node] = part.value }
        }
        columns.append(Column(bin: sample.bin, time: sample.time, allocated: allocated))
    }

    mutating func halve() {
        var halved: [Column] = []
        for var column in columns {
            column.bin /= 2
            if halved.last?.bin == column.bin { halved.removeLast() }
            halved.append(column)
        }
        columns = halved
        pending?.bin /= 2
    }

    /// How much a counter grew between the first and the last sample; nil if there are no two samples, or if it is in neither.
    func growth(of name: String) -> Double? {
        guard count > 1, first[name] != nil || last[name] != nil else { return nil }
        return last[name, default: 0] - first[name, default: 0]
    }

    /// The counters of a family, by their labels.
    func names(of family: String) -> Set<String> {
        Set(first.keys).union(last.keys).filter { $0.hasPrefix(family + "{") }
    }
}

extension CounterSamples {
    /// Every counter (a family whose name ends in `_total`) by its name with labels.
    private static func counters(_ text: String) -> Counters {
        var counters: Counters = [:]
        for sample in MetricsText(text) where sample.name.hasSuffix("_total") && sample.value.isFinite {
            let labels = sample.labels.map { "\($0.name)=\"\($0.value)\"" }.joined(separator: ",")
            counters[labels.isEmpty ? sample.name : "\(sample.name){\(labels)}"] = sample.value
        }
        return counters
    }
}
