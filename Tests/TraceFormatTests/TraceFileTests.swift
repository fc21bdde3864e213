import CoherentMemory
import Glibc
import SystemPackage
import Testing

@testable import TraceFormat

/// What was recorded is read again, up to where a file was cut off.
@Suite("Trace files", .timeLimit(.minutes(1))) struct TraceFileTests {
    /// Records of every kind, with extreme values.
    private static let records: [TraceRecord] = {
        var generator = SystemRandomNumberGenerator()
        var records: [TraceRecord] = [.lost(3), .name(buffer: 7, "a b\n\u{e4}"), .name(buffer: .max, "")]
        for round in 0..<20 {
            for kind in TraceEvent.Kind.allCases {
                func any<T: FixedWidthInteger>(_ type: T.Type) -> T {
                    round == 0 ? .max : round == 1 ? .min : .random(in: .min ... .max, using: &generator)
                }
                var event = TraceEvent(
                    kind, detail: any(UInt8.self), pid: any(Int32.self), buffer: any(UInt64.self),
                    start: any(UInt64.self), count: any(UInt64.self), from: any(UInt16.self), to: any(UInt16.self),
                    local: any(UInt16.self), flags: TraceEvent.Flags(rawValue: any(UInt16.self)),
                    value: any(UInt64.self), other: any(UInt64.self))
                (event.time, event.cpu) = (any(UInt64.self), any(UInt16.self))
                records.append(.event(event))
            }
        }
        return records + [.lost(.max)]
    }()

    /// An empty file without a name.
    private func temporaryFile() throws -> FileDescriptor {
        let path = "/tmp/trace-\(UInt64.random(in: 0 ... .max))"
        let file = try FileDescriptor.open(
            FilePath(path), .readWrite, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
        _ = unsafe unlink(path)
        return file
    }

    /// Writes a file and returns its bytes.
    private func file(_ body: (inout TraceFileWriter) throws -> Void) throws -> [UInt8] {
        let file = try temporaryFile()
        defer { try? file.close() }
        var writer = try TraceFileWriter(
            file, facts: [("version", "1 2"), ("command", "a\nb"), ("empty", "")], topology: "x = 1\n")
        try body(&writer)
        try writer.flush()
        let length = Int(writer.length)
        try file.seek(offset: 0, from: .start)
        return try unsafe [UInt8](unsafeUninitializedCapacity: length + 1) { buffer, count in
            count = try unsafe file.read(into: UnsafeMutableRawBufferPointer(buffer))
        }
    }

    private func read(_ bytes: [UInt8]) throws -> (parts: [TraceFile.Part], isCutOff: Bool) {
        let file = try temporaryFile()
        defer { try? file.close() }
        _ = try file.writeAll(bytes)
        try file.seek(offset: 0, from: .start)
        var reader = try TraceFileReader(file)
        var parts: [TraceFile.Part] = []
        try reader.forEachPart { parts.append($0) }
        return (parts, reader.isCutOff)
    }

    @Test("Every record comes back, in order, with the samples between")
    func roundTrip() throws {
        let bytes = try file { writer in
            for record in Self.records { try writer.append(record) }
            try writer.append(sample: "x 1\n# EOF\n", at: 1 << 63)
            try writer.append(.lost(1))
        }
        let (parts, isCutOff) = try read(bytes)
        let expected: [TraceFile.Part] =
            [
                .fact(name: "version", value: "1 2"), .fact(name: "command", value: "a b"),
                .fact(name: "empty", value: ""), .topology("x = 1\n"),
            ] + Self.records.map { .record($0) } + [.sample(time: 1 << 63, "x 1\n# EOF\n"), .record(.lost(1))]
        #expect(parts == expected && !isCutOff)
    }

    @Test("Each block has the names that its events need")
    func names() throws {
        let event = TraceEvent(.touchPlaced, buffer: 7, start: 1, count: 1)
        let bytes = try file { writer in
            try writer.append(.name(buffer: 7, "a"))
            try writer.append(.event(event))
            try writer.flush()
            try writer.append(.event(event))
            try writer.append(.event(event))
        }
        let records = try read(bytes).parts.compactMap { part -> TraceRecord? in
            guard case .record(let record) = part else { return nil }
            return record
        }
        let name = TraceRecord.name(buffer: 7, "a")
        #expect(records == [name, .event(event), name, .event(event), .event(event)])
    }

    @Test("A file cut off anywhere is readable up to the block before, and one damaged anywhere traps nothing")
    func cut() throws {
        let bytes = try file { writer in
            for record in Self.records.prefix(30) {
                try writer.append(record)
                try writer.flush()
            }
        }
        let whole = try read(bytes).parts
        var longest = 0
        for length in TraceFile.headerSize..<bytes.count {
            let (parts, isCutOff) = try read(Array(bytes[..<length]))
            #expect(parts.count >= longest && parts == Array(whole[..<parts.count]))
            // Just behind a block nothing tells that there were others.
            #expect(isCutOff || parts.count > longest || length == TraceFile.headerSize)
            longest = parts.count
        }
        #expect(longest >= whole.count - 2)
        for place in TraceFile.headerSize..<bytes.count {
            var damaged = bytes
            damaged[place] ^= 0x41
            let (parts, _) = try read(damaged)
            #expect(parts.count <= whole.count)
        }
    }

    @Test("Other files, other versions, and blocks that lie about themselves")
    func hostile() throws {
        #expect(throws: TraceFileError.notTrace) { try read([]) }
        #expect(throws: TraceFileError.notTrace) { try read(Array("CDMTRACE".utf8)) }
        #expect(throws: TraceFileError.notTrace) { try read([UInt8](repeating: 0, count: 4096)) }
        var other = try file { _ in }
        other[8] = 3
        #expect(throws: TraceFileError.version(3)) { try read(other) }
        func block(_ kind: String, _ content: [UInt8], claiming length: Int? = nil) -> [UInt8] {
            let compressed = TraceFile.compressed(content)
            var bytes = Array(kind.utf8)
            TraceFile.append(UInt32(compressed.count), to: &bytes)
            TraceFile.append(UInt32(length ?? content.count), to: &bytes)
            TraceFile.append(TraceFile.checksum(compressed), to: &bytes)
            return bytes + compressed
        }
        let start = try file { _ in }
        let before = try read(start).parts
        for bytes in [
            block("RECS", [0]), block("RECS", [200, 0, 0]), block("RECS", [254, 1, 200, 65]),
            block("RECS", [255] + [UInt8](repeating: 255, count: 20)), block("SMPL", [1, 2]),
            block("RECS", [255, 1], claiming: 1), block("RECS", [255, 1], claiming: 3),
            block("RECS", [255, 1], claiming: TraceFile.longestBlock + 1),
        ] {
            let (parts, isCutOff) = try read(start + bytes)
            #expect(parts == before && isCutOff, "\(bytes)")
        }
        let (parts, isCutOff) = try read(start + block("NEXT", [1]) + block("RECS", [255, 1]))
        #expect(parts == before + [.record(.lost(1))] && !isCutOff)
    }

    @Test("Raw records in pieces of any size, and what is none")
    func raw() throws {
        var bytes: [UInt8] = []
        for record in Self.records { RawTrace.append(record, to: &bytes) }
        for size in [1, 7, 64, 1000, bytes.count] {
            var decoder = RawTrace.Decoder()
            var records: [TraceRecord] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                decoder.add(bytes[start..<min(bytes.count, start + size)])
                while let record = try decoder.next() { records.append(record) }
            }
            #expect(records == Self.records)
        }
        var decoder = RawTrace.Decoder()
        decoder.add([UInt8](repeating: 100, count: 64))
        #expect(throws: TraceFileError.malformed) { try decoder.next() }
        var name: [UInt8] = []
        RawTrace.append(.name(buffer: 1, "a"), to: &name)
        name[31] = 255
        decoder = RawTrace.Decoder()
        decoder.add(name)
        #expect(throws: TraceFileError.malformed) { try decoder.next() }
    }

    @Test("Touches that follow each other take few bytes")
    func size() throws {
        let bytes = try file { writer in
            for number in 0..<10_000 as Range<UInt64> {
                var event = TraceEvent(
                    .touchPlaced, pid: 1234, buffer: 7, start: number * 32, count: 32, from: 0, to: 0, local: 0)
                event.time = 1 << 50 + number * 12_000 + number % 977
                try writer.append(.event(event))
            }
        }
        #expect(bytes.count < 10_000 * 6, "\(bytes.count)")
    }

    @Test("An hour of a busy machine stays below 200 MB: 4,000 touches a second by eight threads, each anywhere")
    func hour() throws {
        var generator = SplitMix64(seed: 1)
        let count = 100_000
        let bytes = try file { writer in
            for number in 0..<count {
                let thread = Int32.random(in: 0..<8, using: &generator)
                var event = TraceEvent(
                    .touchPlaced, detail: 0, pid: 4000 + thread, buffer: UInt64.random(in: 3..<23, using: &generator),
                    start: UInt64.random(in: 0..<1 << 18, using: &generator) & ~31, count: 32,
                    from: UInt16(thread & 1), to: UInt16(thread & 1), local: UInt16(thread & 1))
                event.time = UInt64(number) * 250_000 + UInt64.random(in: 0..<250_000, using: &generator)
                event.cpu = UInt16(thread)
                try writer.append(.event(event))
            }
        }
        let perEvent = Double(bytes.count) / Double(count)
        // The counters are 10 kB a second before they are compressed, to about a tenth.
        #expect(perEvent * 4000 * 3600 + 1000 * 3600 < 200e6, "\(perEvent) bytes an event")
    }

    @Test("A file of version 1 is read")
    func versionOne() throws {
        var bytes = try file { try $0.append(.lost(1)) }
        bytes[8] = 1
        #expect(try read(bytes).parts.last == .record(.lost(1)))
    }
}
