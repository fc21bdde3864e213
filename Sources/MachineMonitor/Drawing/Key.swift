/// A key of a terminal.
package enum Key: Hashable, Sendable {
    case character(Character)
    case up, down, left, right, pageUp, pageDown, home, end
    case tab, backTab, enter, escape
}

/// Takes keys out of what a terminal sends (the escape sequences of ECMA-48 and xterm).
package struct KeyDecoder: Sendable {
    private var pending: [UInt8] = []

    /// Nothing read yet.
    package init() {}

    private static let letters: [UInt8: Key] = [
        UInt8(ascii: "A"): .up, UInt8(ascii: "B"): .down, UInt8(ascii: "C"): .right, UInt8(ascii: "D"): .left,
        UInt8(ascii: "H"): .home, UInt8(ascii: "F"): .end, UInt8(ascii: "Z"): .backTab,
    ]
    private static let numbers: [String: Key] = [
        "1": .home, "7": .home, "4": .end, "8": .end, "5": .pageUp, "6": .pageDown,
    ]
    /// A longer sequence is none.
    private static let longest = 32

    /// The keys of some bytes. An escape at the end of them is the key; the rest of a sequence may come with the next bytes.
    package mutating func keys(_ bytes: some Sequence<UInt8>) -> [Key] {
        pending += bytes
        var keys: [Key] = []
        var rest = pending[...]
        pending = []
        while let byte = rest.popFirst() {
            switch byte {
            case 0x1b:
                guard let next = rest.first, next == UInt8(ascii: "[") || next == UInt8(ascii: "O") else {
                    // With another character behind it, it was a key with Alt, which is none of ours.
                    if rest.popFirst() == nil { keys.append(.escape) }
                    continue
                }
                let parameters = rest.dropFirst().prefix { $0 < 0x40 }
                guard let last = rest[parameters.endIndex...].first else {
                    if rest.count < Self.longest { pending = [0x1b] + rest }
                    return keys
                }
                rest = rest[(parameters.endIndex + 1)...]
                // A modifier stands behind a semicolon.
                let number = parameters.split(separator: UInt8(ascii: ";")).first.map {
                    String(decoding: $0, as: UTF8.self)
                }
                if last == UInt8(ascii: "~") {
                    if let key = Self.numbers[number ?? ""] { keys.append(key) }
                } else if let key = Self.letters[last] {
                    keys.append(key)
                }
            case 0x09: keys.append(.tab)
            case 0x0a, 0x0d: keys.append(.enter)
            case 0x0c: keys.append(.character("\u{c}"))
            case 0x20..<0x7f: keys.append(.character(Character(Unicode.Scalar(byte))))
            default: break
            }
        }
        return keys
    }
}
