import CZlib
import CoherentMemory
public import SystemPackage

/// Why a file is not a trace, or a part of it cannot be read.
public enum TraceFileError: Error, Sendable, Hashable {
    /// It does not begin as a trace does.
    case notTrace
    /// It has a version that is not known here.
    case version(UInt32)
    /// A part of it is not what it should be.
    case malformed
    /// The system refuses.
    case system(Errno)
}

extension TraceFileError: CustomStringConvertible {
    /// The reason in words.
    public var description: String {
        switch self {
        case .notTrace: "not a recorded trace"
        case .version(let version):
            "a trace of version \(version); expected \(TraceFile.versions.lowerBound) to \(TraceFile.version)"
        case .malformed: "the trace is damaged"
        case .system(let error): "\(error)"
        }
    }
}

/// A recorded trace: a header, then blocks that are readable each by itself, so that a file that was cut off is readable up to
/// there. The article <doc:TraceFiles> has the format.
public enum TraceFile {
    /// The version of the format.
    public static let version: UInt32 = 2
    /// The versions that a reader takes: the first has fewer kinds of events.
    static let versions: ClosedRange<UInt32> = 1...version
    static let magic: [UInt8] = Array("CDMTRACE".utf8)
    static let headerSize = 16
    static let blockHeaderSize = 16
    /// The most bytes of a block before it is compressed.
    static let longestBlock = 1 << 22

    /// The kinds of blocks, as their first four bytes.
    enum BlockKind: String {
        /// Facts about the record, as lines of `NAME VALUE`.
        case facts = "FACT"
        /// Packed records.
        case records = "RECS"
        /// A moment and the counters at it, as OpenMetrics text.
        case sample = "SMPL"
        /// The topology, as TOML.
        case topology = "TOML"
    }

    /// A part of a trace.
    public enum Part: Sendable, Hashable {
        /// A fact about the record.
        case fact(name: String, value: String)
        /// The topology of the machine, as TOML.
        case topology(String)
        /// An event, a loss or a name.
        case record(TraceRecord)
        /// The counters at a time of the trace's clock, as OpenMetrics text.
        case sample(time: UInt64, String)
    }

    static func append(_ value: UInt32, to bytes: inout [UInt8]) {
        for index in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: value >> UInt32(8 * index))) }
    }

    static func number(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    static func checksum(_ bytes: some Collection<UInt8>) -> UInt32 {
        let bytes = Array(bytes)
        return unsafe bytes.withUnsafeBufferPointer { buffer in
            unsafe UInt32(truncatingIfNeeded: crc32_z(0, buffer.baseAddress, buffer.count))
        }
    }

    static func compressed(_ bytes: [UInt8]) -> [UInt8] {
        var length = compressBound(uLong(bytes.count))
        let capacity = Int(length)
        return unsafe [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
            // With room for the worst case it does not fail.
            let result = unsafe bytes.withUnsafeBufferPointer { source in
                unsafe compress2(buffer.baseAddress, &length, source.baseAddress, uLong(source.count), 6)
            }
            precondition(result == Z_OK, "compress2: \(result)")
            count = Int(length)
        }
    }

    static func expanded(_ bytes: ArraySlice<UInt8>, length: Int) throws(TraceFileError) -> [UInt8] {
        let source = Array(bytes)
        var actual = uLong(length)
        var result = Z_OK
        let expanded = unsafe [UInt8](unsafeUninitializedCapacity: max(1, length)) { buffer, count in
            result = unsafe source.withUnsafeBufferPointer { source in
                unsafe uncompress(buffer.baseAddress, &actual, source.baseAddress, uLong(source.count))
            }
            count = result == Z_OK ? Int(actual) : 0
        }
        guard result == Z_OK, expanded.count == length else { throw .malformed }
        return expanded
    }
}

/// Writes a trace.
public struct TraceFileWriter {
    private let file: FileDescriptor
    private var packed = PackedTrace()
    private var bytes: [UInt8] = []
    /// The names by buffer, which each block of records begins with as far as it needs them.
    private var names: [UInt64: String] = [:]
    /// The buffers whose names the present block has.
    private var named: Set<UInt64> = []
    /// The bytes written.
    public private(set) var length: UInt64 = 0

    /// Begins a trace in an empty file.
    public init(_ file: FileDescriptor, facts: [(name: String, value: String)], topology: String?)
        throws(TraceFileError)
    {
        self.file = file
        var header = TraceFile.magic
        TraceFile.append(TraceFile.version, to: &header)
        TraceFile.append(0, to: &header)
        try write(header)
        let lines = facts.map { "\($0.name) \($0.value.split(whereSeparator: \.isNewline).joined(separator: " "))\n" }
        try writeBlock(.facts, Array(lines.joined().utf8))
        if let topology { try writeBlock(.topology, Array(topology.utf8)) }
    }

    /// Appends a record. It is in the file after ``flush()``, or when many have come.
    public mutating func append(_ record: TraceRecord) throws(TraceFileError) {
        switch record {
        case .name(let buffer, let text):
            names[buffer] = text
            named.insert(buffer)
        case .event(let event):
            if event.buffer != 0, let name = names[event.buffer], named.insert(event.buffer).inserted {
                packed.append(.name(buffer: event.buffer, name), to: &bytes)
            }
        case .lost: break
        }
        packed.append(record, to: &bytes)
        if bytes.count >= 1 << 18 { try flush() }
    }

    /// Appends the counters at a time of the trace's clock.
    public mutating func append(sample text: String, at time: UInt64) throws(TraceFileError) {
        try flush()
        var sample: [UInt8] = []
        for index in 0..<8 { sample.append(UInt8(truncatingIfNeeded: time >> UInt64(8 * index))) }
        try writeBlock(.sample, sample + text.utf8)
    }

    /// Writes what was appended as a block.
    public mutating func flush() throws(TraceFileError) {
        guard !bytes.isEmpty else { return }
        try writeBlock(.records, bytes)
        bytes = []
        packed = PackedTrace()
        named = []
    }

    private mutating func writeBlock(_ kind: TraceFile.BlockKind, _ content: [UInt8]) throws(TraceFileError) {
        guard content.count <= TraceFile.longestBlock else { throw .malformed }
        let compressed = TraceFile.compressed(content)
        var block = Array(kind.rawValue.utf8)
        TraceFile.append(UInt32(compressed.count), to: &block)
        TraceFile.append(UInt32(content.count), to: &block)
        TraceFile.append(TraceFile.checksum(compressed), to: &block)
        try write(block + compressed)
    }

    private mutating func write(_ bytes: [UInt8]) throws(TraceFileError) {
        do {
            try file.writeAll(bytes)
        } catch {
            throw .system((error as? Errno) ?? .ioError)
        }
        length += UInt64(bytes.count)
    }
}

/// Reads a trace.
public struct TraceFileReader {
    private let file: FileDescriptor
    /// Whether the file ends within a block, or with one that is damaged: all that is before it was read.
    public private(set) var isCutOff = false

    /// Begins with the header. The file need not be seekable.
    ///
    /// - Throws: ``TraceFileError/notTrace`` or ``TraceFileError/version(_:)`` for another file.
    public init(_ file: FileDescriptor) throws(TraceFileError) {
        self.file = file
        let header = try Self.read(TraceFile.headerSize, from: file)
        guard header.starts(with: TraceFile.magic), header.count == TraceFile.headerSize else { throw .notTrace }
        let version = TraceFile.number(header[8..<12])
        guard TraceFile.versions.contains(version) else { throw .version(version) }
    }

    /// Calls `body` with every part in order.
    public mutating func forEachPart(_ body: (TraceFile.Part) -> Void) throws(TraceFileError) {
        while let block = try nextBlock() {
            do throws(TraceFileError) {
                try Self.parse(block.kind, block.content, body)
            } catch .malformed {
                isCutOff = true
                return
            }
        }
    }

    /// The next whole block; nil at the end, or where the rest is not whole.
    private mutating func nextBlock() throws(TraceFileError) -> (kind: String, content: [UInt8])? {
        let header = try Self.read(TraceFile.blockHeaderSize, from: file)
        guard !header.isEmpty else { return nil }
        isCutOff = true
        guard header.count == TraceFile.blockHeaderSize else { return nil }
        let (length, content) = (Int(TraceFile.number(header[4..<8])), Int(TraceFile.number(header[8..<12])))
        guard content <= TraceFile.longestBlock, length <= 2 * TraceFile.longestBlock else { return nil }
        let bytes = try Self.read(length, from: file)
        guard bytes.count == length, TraceFile.checksum(bytes) == TraceFile.number(header[12..<16]),
            let content = try? TraceFile.expanded(bytes[...], length: content)
        else { return nil }
        isCutOff = false
        return (String(decoding: header[..<4], as: UTF8.self), content)
    }

    private static func parse(
        _ kind: String, _ content: [UInt8], _ body: (TraceFile.Part) -> Void
    ) throws(TraceFileError) {
        // Blocks of a kind that came later are left out.
        guard let kind = TraceFile.BlockKind(rawValue: kind) else { return }
        switch kind {
        case .facts:
            for line in String(decoding: content, as: UTF8.self).split(separator: "\n") {
                let pair = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
                body(.fact(name: String(pair[0]), value: pair.count > 1 ? String(pair[1]) : ""))
            }
        case .topology: body(.topology(String(decoding: content, as: UTF8.self)))
        case .sample:
            guard content.count >= 8 else { throw .malformed }
            let time = content[..<8].reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
            body(.sample(time: time, String(decoding: content[8...], as: UTF8.self)))
        case .records:
            var packed = PackedTrace()
            var rest = content[...]
            while let record = try packed.next(&rest) { body(.record(record)) }
        }
    }

    /// As many bytes, or fewer at the end.
    private static func read(_ count: Int, from file: FileDescriptor) throws(TraceFileError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            do {
                let part = try unsafe [UInt8](unsafeUninitializedCapacity: min(count - bytes.count, 1 << 16)) {
                    buffer, length in
                    length = try unsafe file.read(into: UnsafeMutableRawBufferPointer(buffer))
                }
                if part.isEmpty { break }
                bytes += part
            } catch {
                throw .system((error as? Errno) ?? .ioError)
            }
        }
        return bytes
    }
}
