/// The samples of a text in the format of OpenMetrics or of Prometheus, such as sys/kernel/cdm/metrics.
///
/// Comments, and lines that are no samples, are left out.
package struct MetricsText: Sequence {
    /// One sample.
    package struct Sample: Sendable {
        /// The name of the metric, `_total` of a counter included.
        package var name: String
        /// The labels in their order.
        package var labels: [(name: String, value: String)] = []
        /// The value.
        package var value: Double

        /// The value of a label; nil where the sample has none of that name.
        package subscript(label: String) -> String? { labels.first { $0.name == label }?.value }
    }

    private let bytes: [UInt8]

    /// The samples of a text.
    package init(_ text: String) { bytes = Array(text.utf8) }

    /// Goes through the lines.
    package struct Iterator: IteratorProtocol {
        fileprivate var rest: ArraySlice<UInt8>

        /// The next sample.
        package mutating func next() -> Sample? {
            while !rest.isEmpty {
                let line = rest.prefix { $0 != UInt8(ascii: "\n") }
                rest = rest[line.endIndex...].dropFirst()
                if let sample = Sample(line) { return sample }
            }
            return nil
        }
    }

    /// The samples from the first one on.
    package func makeIterator() -> Iterator { Iterator(rest: bytes[...]) }
}

extension MetricsText.Sample {
    /// The sample of a line; nil for a comment and for malformed text.
    fileprivate init?(_ line: ArraySlice<UInt8>) {
        guard let first = line.first, first != UInt8(ascii: "#") else { return nil }
        let name = line.prefix { $0 != UInt8(ascii: "{") && $0 != UInt8(ascii: " ") }
        var rest = line[name.endIndex...]
        self.init(name: String(decoding: name, as: UTF8.self), value: 0)
        if rest.first == UInt8(ascii: "{") {
            rest = rest.dropFirst()
            while rest.first != UInt8(ascii: "}") {
                guard let label = Self.takeLabel(&rest) else { return nil }
                labels.append(label)
                if rest.first == UInt8(ascii: ",") { rest = rest.dropFirst() }
            }
            rest = rest.dropFirst()
        }
        let words = rest.split(separator: UInt8(ascii: " "), maxSplits: 1)
        guard let word = words.first, let value = Double(String(decoding: word, as: UTF8.self)) else { return nil }
        self.value = value
    }

    /// `NAME="VALUE"`, where a backslash stands before a quote, a backslash and the n of a newline.
    private static func takeLabel(_ rest: inout ArraySlice<UInt8>) -> (name: String, value: String)? {
        let name = rest.prefix { $0 != UInt8(ascii: "=") }
        rest = rest[name.endIndex...].dropFirst()
        guard rest.popFirst() == UInt8(ascii: "\"") else { return nil }
        var value: [UInt8] = []
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "\""):
                return (String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self))
            case UInt8(ascii: "\\"):
                guard let next = rest.popFirst() else { return nil }
                value.append(next == UInt8(ascii: "n") ? UInt8(ascii: "\n") : next)
            default: value.append(byte)
            }
        }
        return nil
    }
}
