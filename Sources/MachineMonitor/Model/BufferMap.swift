/// The pages of a buffer as a row of parts of equal length, from its file `pages`.
package struct BufferMap: Sendable {
    /// A part of the buffer.
    package struct Part: Sendable, Equatable {
        /// The pages on each node, those with a frame.
        package var pages: [Int: UInt64] = [:]
        /// What some of its pages are.
        package var flags: Flags = []
    }

    /// What a page may be.
    package struct Flags: OptionSet, Sendable, Hashable {
        /// The bits.
        package let rawValue: UInt8

        /// Flags of bits.
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// Its memory failed.
        package static let poisoned = Flags(rawValue: 1)
        /// It was lost with its link.
        package static let lost = Flags(rawValue: 2)
        /// It is on its way to another node.
        package static let migrating = Flags(rawValue: 4)
        /// It may not move.
        package static let pinned = Flags(rawValue: 8)

        /// The flags, by their words in `pages`, the most important first.
        package static let words: [(word: String, flag: Flags)] = [
            ("poisoned", .poisoned), ("lost", .lost), ("migrating", .migrating), ("pinned", .pinned),
        ]
    }

    /// The most parts of a map.
    package static let partLimit: UInt64 = 4096
    private static let pageSize: UInt64 = 4096
    private static let lastPage = UInt64.max / pageSize

    /// Of which bytes of the buffer it is; the bounds are of whole pages.
    package let range: Range<UInt64>
    /// Bytes of a part: a power of two, at least a page.
    package let partLength: UInt64
    /// The parts.
    package private(set) var parts: [Part]
    /// Pages by flag.
    package private(set) var counts: [Flags: UInt64] = [:]
    /// Up to which byte pages have been read.
    package private(set) var end: UInt64

    /// An empty map of a range, rounded to whole pages.
    package init(_ range: Range<UInt64>) {
        let start = min(range.lowerBound / Self.pageSize, Self.lastPage - 1)
        // Of an empty buffer there is a page without a frame.
        let end = min(max(start + 1, (range.upperBound - min(1, range.upperBound)) / Self.pageSize + 1), Self.lastPage)
        var perPart: UInt64 = 1
        while (end - start - 1) / perPart >= Self.partLimit { perPart *= 2 }
        partLength = perPart * Self.pageSize
        self.range = start * Self.pageSize..<end * Self.pageSize
        parts = [Part](repeating: Part(), count: Int((end - start - 1) / perPart + 1))
        self.end = start * Self.pageSize
    }

    /// Adds a run of pages: a line of `pages`.
    ///
    /// - Returns: whether lines of this range may follow.
    package mutating func add(line: Substring) -> Bool {
        let words = line.split(separator: " ")
        guard words.count == 5, let offset = Self.hexadecimal(words[0]), let length = Self.hexadecimal(words[1]),
            let node = Int(words[2])
        else { return true }
        guard offset < range.upperBound else { return false }
        var flags: Flags = []
        if words[4] != "-" {
            for word in words[4].split(separator: ",") {
                if let flag = Flags.words.first(where: { $0.word == word })?.flag { flags.insert(flag) }
            }
        }
        let (sum, isTooLarge) = offset.addingReportingOverflow(length)
        let last = min(isTooLarge ? .max : sum, range.upperBound)
        var place = max(offset, range.lowerBound)
        end = max(end, last)
        guard place < last else { return true }
        for (_, flag) in Flags.words where flags.contains(flag) {
            counts[flag, default: 0] += (last - place) / Self.pageSize
        }
        while place < last {
            let index = Int((place - range.lowerBound) / partLength)
            let next =
                index + 1 < parts.count ? min(last, range.lowerBound + UInt64(index + 1) * partLength) : last
            // A page that was lost or has failed may have no node any more.
            if node >= 0 { parts[index].pages[node, default: 0] += (next - place) / Self.pageSize }
            parts[index].flags.formUnion(flags)
            place = next
        }
        return last < range.upperBound
    }

    private static func hexadecimal(_ word: Substring) -> UInt64? {
        word.hasPrefix("0x") ? UInt64(word.dropFirst(2), radix: 16) : nil
    }

    /// The map in fewer parts, or as many.
    ///
    /// - Parameter limit: how many parts there may be.
    /// - Returns: the parts, and how many of ``parts`` each is made of, a power of two.
    package func cells(_ limit: Int) -> (parts: [Part], ratio: Int) {
        var ratio = 1
        while (parts.count - 1) / ratio >= max(1, limit) { ratio *= 2 }
        guard ratio > 1 else { return (parts, 1) }
        let cells = stride(from: 0, to: parts.count, by: ratio).map { start in
            var sum = Part()
            for part in parts[start..<min(parts.count, start + ratio)] {
                for (node, pages) in part.pages { sum.pages[node, default: 0] += pages }
                sum.flags.formUnion(part.flags)
            }
            return sum
        }
        return (cells, ratio)
    }
}

extension Range<UInt64> {
    /// The number of bytes; `count` is of signed numbers.
    var length: UInt64 { upperBound - lowerBound }
}
