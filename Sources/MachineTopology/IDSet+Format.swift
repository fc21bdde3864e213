public import SystemPackage

extension IDSet: CustomStringConvertible {
    /// The set in Linux's list format: `0-3,8`; empty for the empty set (`%*pbl` of printk).
    public var description: String {
        var text = ""
        var iterator = makeIterator()
        var next = iterator.next()
        while let first = next {
            var last = first
            next = iterator.next()
            while let id = next, id == last + 1 {
                last = id
                next = iterator.next()
            }
            if !text.isEmpty { text += "," }
            text += first == last ? "\(first)" : "\(first)-\(last)"
        }
        return text
    }

    /// The set as a bit map of `width` bits: 32-bit hexadecimal words, the most significant first, separated by
    /// commas; the first word has only the digits that its bits need (`%*pb` of printk, as in `cpumap`).
    public func map(width: Int) -> String {
        guard width > 0 else { return "" }
        var words: [String] = []
        for base in stride(from: (width - 1) / 32 * 32, through: 0, by: -32) {
            let bitCount = Swift.min(32, width - base)
            var word: UInt32 = 0
            for bit in 0..<bitCount where contains(base + bit) { word |= 1 << bit }
            let digits = String(word, radix: 16)
            words.append(String(repeating: "0", count: (bitCount + 3) / 4 - digits.count) + digits)
        }
        return words.joined(separator: ",")
    }

    /// Parses Linux's list format as the kernel's `bitmap_parselist()` does: regions `A`, `A-B`, `A-B:USED/GROUP` (the
    /// first USED ids of every GROUP), `all` or `N` for the largest id, with commas or white space around them; the
    /// text ends at a newline.
    ///
    /// - Parameters:
    ///   - text: the text.
    ///   - limit: ids must be below it.
    /// - Throws: EINVAL for malformed text, ERANGE for an id at or above the limit, EOVERFLOW for a number of more than
    ///   32 bits.
    public init(list text: some StringProtocol, limit: Int = IDSet.maxNodes) throws(Errno) {
        self.init()
        var parser = ListParser(bytes: Array(text.utf8), limit: limit)
        while let region = try parser.next() { formUnion(region) }
    }
}

/// lib/bitmap-str.c's parser of lists.
private struct ListParser {
    let bytes: [UInt8]
    let limit: Int
    var position = 0
    var isAtEnd = false

    init(bytes: [UInt8], limit: Int) {
        self.bytes = bytes
        self.limit = limit
    }

    private var current: UInt8 { position < bytes.count ? bytes[position] : 0 }
    private var isEndOfText: Bool { current == 0 || current == UInt8(ascii: "\n") }
    private var isSeparator: Bool { current == UInt8(ascii: ",") || current == 0x20 || (0x09...0x0d).contains(current) }

    mutating func next() throws(Errno) -> IDSet? {
        while !isAtEnd, isSeparator { position += 1 }
        if isAtEnd || isEndOfText { return nil }
        let start: Int
        var end: Int
        if bytes[position...].prefix(3).map({ $0 | 0x20 }) == Array("all".utf8) {
            position += 3
            (start, end) = (0, limit - 1)
        } else {
            start = try number()
            end = start
            if !isSeparator, !isEndOfText {
                try expect("-")
                end = try number()
            } else {
                return try region(start, end)
            }
        }
        guard !isSeparator, !isEndOfText else { return try region(start, end) }
        try expect(":")
        let used = try number()
        try expect("/")
        return try region(start, end, used: used, group: try number())
    }

    private mutating func region(_ start: Int, _ end: Int, used: Int? = nil, group: Int? = nil) throws(Errno) -> IDSet {
        // As in the kernel, a newline after a region ends the text whatever follows.
        isAtEnd = isEndOfText
        guard isAtEnd || isSeparator || group != nil else { throw .invalidArgument }
        let group = group ?? end + 1
        let used = used ?? end + 1
        guard start <= end, group > 0, used <= group else { throw .invalidArgument }
        guard end < limit else { throw .outOfRange }
        var set = IDSet()
        for first in stride(from: start, through: end, by: group) {
            set.formUnion(IDSet(first..<first + Swift.min(end - first + 1, used)))
        }
        return set
    }

    private mutating func expect(_ character: Unicode.Scalar) throws(Errno) {
        guard current == UInt8(ascii: character) else { throw .invalidArgument }
        position += 1
    }

    private mutating func number() throws(Errno) -> Int {
        if current == UInt8(ascii: "N") {
            position += 1
            return limit - 1
        }
        let first = position
        var value = 0
        while (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(current) {
            value = value * 10 + Int(current - UInt8(ascii: "0"))
            guard value <= UInt32.max else { throw .overflow }
            position += 1
        }
        guard position > first else { throw .invalidArgument }
        return value
    }
}
