/// SplitMix64: the same numbers from the same seed, on every machine.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// Makes hostile inputs from good ones: what a fuzzer does that knows the words and numbers of a format, but not its grammar.
struct Mutator {
    private var random: SeededGenerator
    private let words: [[UInt8]]

    /// - Parameter words: what stands beside the numbers and separators that every format has.
    init(seed: UInt64, words: [String]) {
        random = SeededGenerator(seed: seed)
        self.words = (words + Self.numbers + Self.separators).map { Array($0.utf8) }
    }

    /// Numbers at the edges of what types hold, and what only looks like one.
    static let numbers = [
        "0", "1", "-1", "2", "3", "255", "256", "1023", "1024", "4095", "4096", "4097", "65536", "2097152",
        "2147483647", "2147483648", "4294967295", "4294967296", "4611686018427387904", "9223372036854771712",
        "9223372036854775807", "9223372036854775808", "18446744073709547520", "18446744073709551615",
        "18446744073709551616", "99999999999999999999999999", "0x0", "0x7fffffffffffffff", "0xffffffffffffffff",
        "0x1000", "00", "08", "+1", "--1", "1e9", "0.5", "1k", "8E", "16E", "4G", "N", "all", "٣", "inf", "nan",
    ]
    private static let separators = [
        " ", "  ", "\n", "\n\n", "\t", ",", "-", ":", "/", "=", ".", "..", "\"", "'", "[", "]", "[[", "{", "}", "#",
        "\\",
        "\r\n", "\u{0}", "é", "e\u{301}", "\u{202e}", "%s", "*",
    ]

    mutating func number(below limit: Int) -> Int { Int.random(in: 0..<max(1, limit), using: &random) }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) } }

    mutating func pick<Element>(_ elements: [Element]) -> Element { elements[number(below: elements.count)] }

    /// Some mutations of `input`, spliced perhaps with `other`; one in eight stays as it is.
    mutating func mutate(_ input: [UInt8], with other: [UInt8], limit: Int = 4200) -> [UInt8] {
        var bytes = input
        for _ in 0..<number(below: 8) {
            mutateOnce(&bytes, other)
            if bytes.count > limit { bytes.removeSubrange(limit...) }
        }
        return bytes
    }

    private mutating func mutateOnce(_ bytes: inout [UInt8], _ other: [UInt8]) {
        let place = number(below: bytes.count + 1)
        switch number(below: 9) {
        case 0: bytes.insert(contentsOf: pick(words), at: place)
        case 1, 2: bytes.replaceSubrange(token(of: bytes, around: place), with: pick(words))
        case 3: bytes.removeSubrange(token(of: bytes, around: place))
        case 4: if place < bytes.count { bytes[place] ^= 1 << UInt8(number(below: 8)) }
        case 5: if place < bytes.count { bytes[place] = UInt8(number(below: 256)) }
        case 6: bytes.replaceSubrange(place..., with: other.suffix(number(below: other.count + 1)))
        case 7:
            let part = Array(bytes[token(of: bytes, around: place)].prefix(16))
            let copies = [[UInt8]](repeating: part, count: 1 << number(below: 9))
            bytes.insert(contentsOf: Array(copies.joined()), at: place)
        default: bytes.removeSubrange(place...)
        }
    }

    /// The letters and digits around a place.
    private func token(of bytes: [UInt8], around place: Int) -> Range<Int> {
        func isPart(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20) }
        var (start, end) = (place, place)
        while start > 0, isPart(bytes[start - 1]) { start -= 1 }
        while end < bytes.count, isPart(bytes[end]) { end += 1 }
        return start..<end
    }
}
