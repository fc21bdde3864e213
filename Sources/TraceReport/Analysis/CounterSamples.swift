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
        if count == 0 { first = MetricsText.counters(text) }
        count += 1
        // Of the samples of a bin the last one is kept, and the others are not even parsed.
        if let pending, pending.bin != bin { keep(pending) }
        pending = (bin, time, text)
    }

    mutating func finish() {
        guard let pending else { return }
        keep(pending)
        last = MetricsText.counters(pending.text)
        self.pending = nil
    }

    private mutating func keep(_ sample: (bin: Int, time: UInt64, text: String)) {
        if columns.last?.bin == sample.bin { columns.removeLast() }
        let values = MetricsText.values(of: "cdmfs_node_memory_bytes", where: "state=\"allocated\"", in: sample.text)
        columns.append(
            Column(
                bin: sample.bin, time: sample.time,
                allocated: Dictionary(values.map { ($0.node, $0.value) }) { first, _ in first }))
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

/// Values in OpenMetrics text.
enum MetricsText {
    /// The values of a family, by node, that have a label.
    static func values(of family: String, where label: String, in text: String) -> [(node: Int, value: Double)] {
        text.utf8.split(separator: UInt8(ascii: "\n")).compactMap { line in
            guard line.starts(with: family.utf8), let line = String(line), line.contains(label),
                let start = line.firstRange(of: "node=\""),
                let value = line.split(separator: " ").last.flatMap({ Double($0) }), value.isFinite
            else { return nil }
            let digits = line[start.upperBound...].prefix { $0 != "\"" }
            return Int(digits).map { ($0, value) }
        }
    }

    /// Every counter (a family whose name ends in `_total`) by its name with labels.
    static func counters(_ text: String) -> [String: Double] {
        var counters: [String: Double] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let space = line.lastIndex(of: " "), let value = Double(line[line.index(after: space)...]),
                value.isFinite,
                line[..<space].prefix(while: { $0 != "{" }).hasSuffix("_total")
            else { continue }
            counters[String(line[..<space])] = value
        }
        return counters
    }
}
