import AttributeTree
import Synchronization
import SystemPackage
import Testing

/// Texts that are made record by record as they are read, as of Linux's seq_file.
@Suite("Long texts") struct LongTextTests {
    /// Lines that tell their number, of lengths of their own; how many were made.
    private final class Lines: Sendable {
        let count: Int
        let made = Atomic(0)
        let fails = Atomic(false)

        init(_ count: Int) { self.count = count }

        static let attribute = Attribute<Lines>.readOnly(
            "lines",
            records: { lines, key throws(Errno) in
                if lines.fails.load(ordering: .relaxed) { throw .ioError }
                let numbers = Int(key)..<min(Int(key) + 16, max(lines.count, Int(key)))
                lines.made.add(numbers.count, ordering: .relaxed)
                return numbers.map { TextRecord(Lines.line($0), next: UInt64($0) + 1) }
            })

        static func line(_ number: Int) -> String { "\(number) \(String(repeating: "x", count: number * 7 % 90))\n" }

        var text: [UInt8] { (0..<count).flatMap { Array(Lines.line($0).utf8) } }
    }

    @Test("Whatever is read at whatever offset is what stands there")
    func reading() throws {
        let lines = Lines(300)
        let attribute = Lines.attribute.bound(to: lines)
        let text = lines.text
        #expect(attribute.isLong && attribute.isReadable && !attribute.isPollable)
        #expect(try Array(attribute.show().utf8) == text)
        var generator = SystemRandomNumberGenerator()
        var cursor = TextCursor()
        for _ in 0..<500 {
            let offset = Int.random(in: 0...text.count + 100, using: &generator)
            let count = Int.random(in: 1...3000, using: &generator)
            let expected = Array(text.dropFirst(offset).prefix(count))
            #expect(try cursor.read(attribute, at: offset, count: count) == expected, "\(offset) \(count)")
        }
        for size in [1, 7, 4096, 1 << 20] {
            var bytes: [UInt8] = []
            while true {
                let part = try cursor.read(attribute, at: bytes.count, count: size)
                if part.isEmpty { break }
                bytes += part
            }
            #expect(bytes == text)
        }
    }

    @Test("A read in sequence makes each record about once, and a short one few")
    func cost() throws {
        let lines = Lines(100_000)
        let attribute = Lines.attribute.bound(to: lines)
        var cursor = TextCursor()
        _ = try cursor.read(attribute, at: 0, count: 100)
        #expect(lines.made.load(ordering: .relaxed) == 16)
        var offset = 100
        while true {
            let part = try cursor.read(attribute, at: offset, count: 1 << 16)
            if part.isEmpty { break }
            offset += part.count
        }
        #expect(offset == lines.text.count)
        // What did not fit into a read is made again: less than 16 records each time.
        #expect(lines.made.load(ordering: .relaxed) < 100_000 + 16 * (offset >> 16 + 2))
        #expect(throws: Errno.argListTooLong) { try attribute.value(atMost: 65536) }
        let value = try Lines.attribute.bound(to: Lines(3)).value(atMost: 65536)
        #expect(value + "\n" == String(decoding: Lines(3).text, as: UTF8.self))
    }

    @Test("Nothing is an empty text, and a failure is told")
    func ends() throws {
        let empty = Lines(0)
        var cursor = TextCursor()
        #expect(try cursor.read(Lines.attribute.bound(to: empty), at: 0, count: 100) == [])
        #expect(try cursor.read(Lines.attribute.bound(to: empty), at: 50, count: 100) == [])
        #expect(try Lines.attribute.bound(to: empty).show() == "")
        let lines = Lines(10)
        lines.fails.store(true, ordering: .relaxed)
        #expect(throws: Errno.ioError) { try cursor.read(Lines.attribute.bound(to: lines), at: 0, count: 100) }
        lines.fails.store(false, ordering: .relaxed)
        #expect(try cursor.read(Lines.attribute.bound(to: lines), at: 0, count: 1 << 20) == lines.text)
    }
}
