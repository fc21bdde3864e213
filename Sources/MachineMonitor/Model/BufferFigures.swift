/// A buffer at one moment: a line of sys/kernel/cdm/bufferinfo.
package struct BufferFigures: Sendable, Hashable {
    /// The number of the buffer in trace records.
    package var id: UInt64 = 0
    /// The size in bytes.
    package var size: UInt64 = 0
    /// Bytes that have a frame.
    package var resident: UInt64 = 0
    /// Requests to read pages.
    package var reads: UInt64 = 0
    /// Requests to store pages.
    package var writes: UInt64 = 0
    /// Pages that got their frame by a touch of a CPU.
    package var touchedByCPU: UInt64 = 0
    /// Pages that got their frame by a touch of a device.
    package var touchedByDevice: UInt64 = 0
    /// Touches without a frame.
    package var refused: UInt64 = 0
    /// The pages on each node, in the words of the file.
    package var placement = "-"
    /// Whether its pages may not move.
    package var isPinned = false
    /// The path below buffers/, or `/dev/cdmN`.
    package var name = ""

    /// Pages that got a frame.
    package var touched: UInt64 { touchedByCPU &+ touchedByDevice }

    /// A buffer of which nothing is known.
    package init() {}

    /// The buffer of a line; nil for a malformed one.
    package init?(line: Substring) {
        let words = line.utf8.split(separator: UInt8(ascii: " "), maxSplits: 10)
        guard words.count == 11 else { return nil }
        for (word, figure) in zip(words, Self.figures) {
            guard let value = Self.number(word) else { return nil }
            self[keyPath: figure] = value
        }
        placement = String(words[8]) ?? "-"
        isPinned = words[9].elementsEqual("pinned".utf8)
        name = Self.unescaped(words[10])
    }

    private static let figures: [any WritableKeyPath<BufferFigures, UInt64> & Sendable] = [
        \.id, \.size, \.resident, \.reads, \.writes, \.touchedByCPU, \.touchedByDevice, \.refused,
    ]

    private static func number(_ word: Substring.UTF8View) -> UInt64? {
        var value: UInt64 = 0
        for byte in word {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            let (product, isTooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, isTooLargeNow) = product.addingReportingOverflow(UInt64(byte - UInt8(ascii: "0")))
            if isTooLarge || isTooLargeNow { return nil }
            value = sum
        }
        return word.isEmpty ? nil : value
    }

    /// Bytes in place of a backslash and three octal digits.
    private static func unescaped(_ word: Substring.UTF8View) -> String {
        guard word.contains(UInt8(ascii: "\\")) else { return String(Substring(word)) }
        var bytes: [UInt8] = []
        var rest = word
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            guard byte == UInt8(ascii: "\\"), let value = UInt8(String(Substring(digits)), radix: 8), digits.count == 3
            else {
                bytes.append(byte)
                continue
            }
            bytes.append(value)
            rest = rest.dropFirst(3)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// All buffers that the reader may see, at one moment.
package struct BufferTable: Sendable {
    /// When it was read, in nanoseconds of a clock that only grows.
    package let time: UInt64
    /// The buffers.
    package let buffers: [BufferFigures]

    /// The buffers of the text of the file.
    package init(_ text: String, at time: UInt64) {
        self.time = time
        buffers = text.split(separator: "\n").compactMap { BufferFigures(line: $0) }
    }
}
