import CoherentFS
import CoherentMemory
import MachineTopology

/// Inputs for a parser, the same from the same seed: good ones, mutated.
struct Inputs {
    private let parser: Parser
    private let seeds: [[UInt8]]
    private var mutator: Mutator

    init(for parser: Parser, seed: UInt64) {
        self.parser = parser
        seeds = Self.seeds(of: parser)
        let words = seeds.flatMap { $0.split { !($0 | 0x20 >= 0x61 || $0 >= 0x30) } }
        mutator = Mutator(
            seed: seed, words: Array(Set(words.map { String(decoding: $0, as: UTF8.self) })).sorted())
    }

    mutating func next() -> [UInt8] {
        switch parser {
        case .topology: mutator.mutate(mutator.pick(seeds), with: mutator.pick(seeds), limit: 1 << 16)
        case .text, .command: mutator.mutate(mutator.pick(seeds), with: mutator.pick(seeds))
        case .attribute: attributes()
        case .ioctl: ioctl()
        case .request: mutator.bytes(mutator.number(below: 400))
        case .ring: lengths()
        case .trace: trace()
        }
    }

    /// Events of any kind, with numbers that are small or at the edges.
    private mutating func trace() -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0...mutator.number(below: 40) {
            var fields = (0..<8).map { _ in mutator.number(below: 8) == 0 ? edge() : UInt64(mutator.number(below: 600))
            }
            fields[1] = UInt64(mutator.number(below: 29)) | UInt64(mutator.number(below: 20)) << 8 | 7 << 32
            fields[2] = UInt64(mutator.number(below: 5))
            let nodes = [0, 1, 1, 0xffff, UInt64(mutator.number(below: 4))]
            fields[5] = mutator.pick(nodes) | mutator.pick(nodes) << 16 | UInt64(mutator.number(below: 512)) << 48
            bytes += fields.map { longs($0) }.joined()
        }
        return mutator.number(below: 4) == 0 ? mutator.mutate(bytes, with: bytes) : bytes
    }

    private mutating func attributes() -> [UInt8] {
        let writes = (0...mutator.number(below: 4)).map { _ -> [UInt8] in
            let number = mutator.number(below: World.writable.count)
            let own = Self.examples[number]
            let text = mutator.mutate(
                mutator.pick(mutator.number(below: 4) == 0 ? seeds : own), with: mutator.pick(seeds))
            // No byte of the number is a NUL.
            return [UInt8(number / 255 % 255 + 1), 0xff, UInt8(number % 255 + 1)].filter { $0 != 0xff } + text
        }
        return Array(writes.joined(separator: [0]))
    }

    private mutating func ioctl() -> [UInt8] {
        let numbers = (0..<5).map { _ in longs(edge()) }.joined()
        return words(0xc028_4800 | UInt32(mutator.number(below: 10)))
            + numbers.prefix(mutator.number(below: 3) == 0 ? 7 : 40)
    }

    private mutating func lengths() -> [UInt8] {
        func small(_ limit: Int) -> UInt32 { UInt32(mutator.number(below: limit)) }
        let payload = mutator.number(below: 4) == 0 ? UInt32(truncatingIfNeeded: edge()) : small(70_000)
        let length = mutator.number(below: 4) == 0 ? UInt32(truncatingIfNeeded: edge()) : (payload &+ small(180))
        return words(length, payload, small(200_000)) + mutator.bytes(mutator.number(below: 200) + 4)
    }

    private mutating func edge() -> UInt64 {
        (1 << UInt64(mutator.number(below: 64))) &+ UInt64(bitPattern: Int64(mutator.number(below: 5) - 2))
    }

    // MARK: Good inputs

    private static func seeds(of parser: Parser) -> [[UInt8]] {
        switch parser {
        case .topology: (Topology.presets.map(\.toml) + [World.topology]).map { Array($0.utf8) }
        case .text, .attribute:
            (Array(examples.joined())
                + [
                    "0-3,8", "0-1023:1/2", "all", "N", "bind:1", "interleave=static:0-1", "prefer (many):0-1", "0x10",
                    "-5",
                ]
                .map { Array($0.utf8) })
        case .command:
            [
                "fill a 0 4096 255", "copy a 0 d/b 4096 8192", "copy a 0 a 1 65536", "crc32 a 0 1048576",
                "read a 0 65536\nwrite d/b 0 65536\nfence", "exclusive a 0 8192", "fill dev/cdm0 0 4096 1",
                "fill buffers/a 1 1 1",
            ].map { Array($0.utf8) }
        default: []
        }
    }

    /// For each attribute that can be written what the reference says of its format, with something in place of the capitals, and
    /// the text that it shows.
    private static let examples: [[[UInt8]]] = {
        guard let reference = try? FileReference(), let world = try? World() else { fatalError("no reference") }
        defer { world.end() }
        return World.writable.map { path in
            let writes = reference.entries(for: path).map(\.writes).joined(separator: ", ")
            var texts = writes.split(separator: "`", omittingEmptySubsequences: false).enumerated()
                .filter { $0.offset % 2 == 1 }.map { fill($0.element) }
            texts += writes.split { ", ".contains($0) }.filter { $0.utf8.allSatisfy { $0 < 0x80 } }.map(String.init)
            if let shown = world.show(path) { texts.append(shown) }
            texts += ["1", "0"]
            return texts.map { Array($0.utf8) }
        }
    }()

    private static func fill(_ format: Substring) -> String {
        // The longer ones first, of which others are a part.
        let values = [
            ("ADDRESS", "0x0"), ("BUFFER", "a"), ("LENGTH", "65536"), ("OFFSET", "0"), ("POLICY", "bind:1"),
            ("COUNT", "1"), ("start", "1000"), ("BYTE", "7"), ("FROM", "0"), ("NODE", "1"), ("PID", "0"),
            ("end", "2000"), ("nid", "1"), ("pid", "0"), ("ID", "1"), ("TO", "1"),
        ]
        return values.reduce(String(format)) { text, value in text.replacing(value.0, with: value.1) }
    }
}
