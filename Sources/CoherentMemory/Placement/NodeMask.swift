/// A set of nodes by their place in the machine, small enough to live in a page fault without an allocation (nodemask_t).
struct NodeMask: Sendable {
    private var words = InlineArray<16, UInt64>(repeating: 0)
    private(set) var count = 0

    init() {}

    init(_ indices: some Sequence<Int>) {
        for index in indices { insert(index) }
    }

    var isEmpty: Bool { count == 0 }

    mutating func insert(_ index: Int) {
        guard !contains(index) else { return }
        words[index >> 6] |= 1 << UInt64(index & 63)
        count += 1
    }

    func contains(_ index: Int) -> Bool { words[index >> 6] & 1 << UInt64(index & 63) != 0 }

    func intersects(_ other: borrowing NodeMask) -> Bool {
        for word in 0..<16 where words[word] & other.words[word] != 0 { return true }
        return false
    }

    func intersection(_ other: borrowing NodeMask) -> NodeMask {
        var result = NodeMask()
        for word in 0..<16 {
            result.words[word] = words[word] & other.words[word]
            result.count += result.words[word].nonzeroBitCount
        }
        return result
    }

    /// The `n`th member in ascending order, `n` less than the count.
    func member(_ n: Int) -> Int {
        var left = n
        for word in 0..<16 {
            var bits = words[word]
            if left >= bits.nonzeroBitCount {
                left -= bits.nonzeroBitCount
                continue
            }
            while left > 0 {
                bits &= bits - 1
                left -= 1
            }
            return word << 6 + bits.trailingZeroBitCount
        }
        preconditionFailure("no such member")
    }

    func forEach(_ body: (Int) -> Void) {
        guard count > 0 else { return }
        for word in 0..<16 {
            var bits = words[word]
            while bits != 0 {
                body(word << 6 + bits.trailingZeroBitCount)
                bits &= bits - 1
            }
        }
    }
}
