import CoherentMemory

/// The bytes of trace_pipe_raw and trace_pipe_watch in sys/kernel/cdm/trace: records of little-endian 64-bit words.
///
/// An event has the eight words of `TraceEvent.words` of CoherentMemory. The low byte of the second word of other records is no kind of
/// event: 255 for lost events, whose third word is their number, and 254 for the name of a buffer: the third word is the id, the
/// fourth the number of bytes of the name in UTF-8, which follows the eight words, filled up to a multiple of eight.
public enum RawTrace {
    static let lostKind: UInt64 = 255
    static let nameKind: UInt64 = 254
    private static let wordSize = 8
    /// The bytes of a record without a name.
    public static let recordSize = TraceEvent.wordCount * wordSize
    /// The longest name; PATH_MAX has less.
    static let longestName: UInt64 = 1 << 16

    /// Appends the bytes of a record.
    public static func append(_ record: TraceRecord, to bytes: inout [UInt8]) {
        var words = InlineArray<8, UInt64>(repeating: 0)
        var name: [UInt8] = []
        switch record {
        case .event(let event): words = event.words
        case .lost(let count):
            words[1] = lostKind
            words[2] = count
        case .name(let buffer, let text):
            name = Array(text.utf8.prefix(Int(longestName)))
            words[1] = nameKind
            words[2] = buffer
            words[3] = UInt64(name.count)
        }
        for index in 0..<TraceEvent.wordCount { append(words[index], to: &bytes) }
        bytes += name
        bytes += [UInt8](repeating: 0, count: (wordSize - name.count % wordSize) % wordSize)
    }

    private static func append(_ word: UInt64, to bytes: inout [UInt8]) {
        for index in 0..<wordSize { bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * index))) }
    }

    /// Takes records out of what was read, in pieces of any size.
    public struct Decoder: Sendable {
        private var bytes: [UInt8] = []
        private var start = 0

        /// Nothing read yet.
        public init() {}

        /// Appends what was read.
        public mutating func add(_ more: some Sequence<UInt8>) {
            bytes.removeFirst(start)
            start = 0
            bytes += more
        }

        /// The next whole record; nil if more has to be read.
        ///
        /// - Throws: ``TraceFileError/malformed`` for what is no record.
        public mutating func next() throws(TraceFileError) -> TraceRecord? {
            guard bytes.count - start >= RawTrace.recordSize else { return nil }
            var words = InlineArray<8, UInt64>(repeating: 0)
            for index in 0..<TraceEvent.wordCount {
                var word: UInt64 = 0
                for byte in (0..<RawTrace.wordSize).reversed() {
                    word = word << 8 | UInt64(bytes[start + index * RawTrace.wordSize + byte])
                }
                words[index] = word
            }
            switch words[1] & 255 {
            case RawTrace.lostKind:
                start += RawTrace.recordSize
                return .lost(words[2])
            case RawTrace.nameKind:
                guard words[3] <= RawTrace.longestName else { throw .malformed }
                let length = Int(words[3])
                let end = RawTrace.recordSize + (length + RawTrace.wordSize - 1) / RawTrace.wordSize * RawTrace.wordSize
                guard bytes.count - start >= end else { return nil }
                let first = start + RawTrace.recordSize
                defer { start += end }
                return .name(buffer: words[2], String(decoding: bytes[first..<first + length], as: UTF8.self))
            default:
                guard let event = TraceEvent(words: words) else { throw .malformed }
                start += RawTrace.recordSize
                return .event(event)
            }
        }
    }
}
