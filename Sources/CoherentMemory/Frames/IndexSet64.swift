import SystemPackage

/// A set of small integers that finds its least member in a few instructions, in flat memory.
///
/// A bitmap with a summary bit per word above it, and so on upwards. swift-collections' BitSet finds its first
/// member by scanning and lives in a copy-on-write array; a free list of 2²⁸ frames can afford neither.
struct IndexSet64: ~Copyable, Sendable {
    private static let maximumLevels = 6

    private let words: FlatMemory<UInt64>
    private var offsets = InlineArray<6, Int>(repeating: 0)
    private let levels: Int
    private(set) var count = 0

    /// An empty set whose members will be in `0..<capacity`.
    init(capacity: Int) throws(Errno) {
        var total = 0
        var level = 0
        var size = max(1, capacity)
        repeat {
            precondition(level < Self.maximumLevels)
            size = (size + 63) / 64
            offsets[level] = total
            total += size
            level += 1
        } while size > 1
        levels = level
        words = try FlatMemory(count: total)
    }

    var isEmpty: Bool { count == 0 }

    func contains(_ index: Int) -> Bool {
        words[offsets[0] + index >> 6] & (1 << UInt64(index & 63)) != 0
    }

    mutating func insert(_ index: Int) {
        assert(!contains(index))
        count += 1
        var position = index
        for level in 0..<levels {
            let word = offsets[level] + position >> 6
            let old = words[word]
            words[word] = old | 1 << UInt64(position & 63)
            if old != 0 { return }
            position >>= 6
        }
    }

    mutating func remove(_ index: Int) {
        assert(contains(index))
        count -= 1
        var position = index
        for level in 0..<levels {
            let word = offsets[level] + position >> 6
            let new = words[word] & ~(1 << UInt64(position & 63))
            words[word] = new
            if new != 0 { return }
            position >>= 6
        }
    }

    /// The least member, or nil when the set is empty.
    func first() -> Int? {
        guard count > 0 else { return nil }
        var position = 0
        for level in (0..<levels).reversed() {
            position = position << 6 | words[offsets[level] + position].trailingZeroBitCount
        }
        return position
    }
}
