/// The policies of parts of a buffer that have one of their own (struct shared_policy of mm/mempolicy.c). The rest has the policy of the
/// buffer.
///
/// The buffer's lock guards them.
struct RangePolicies: Sendable {
    /// Pages that follow each other under one policy.
    struct Part: Sendable {
        var pages: Range<UInt64>
        var policy: MemoryPolicy
        var effective: EffectivePolicy
    }

    /// Ascending, none overlaps another.
    private(set) var parts: [Part] = []

    /// The most parts of one buffer: as many as a process may have mappings (DEFAULT_MAX_MAP_COUNT).
    static let limit = 65530

    var isEmpty: Bool { parts.isEmpty }

    /// The place of the first part that ends behind a page.
    private func place(of page: UInt64) -> Int {
        var low = 0
        var high = parts.count
        while low < high {
            let middle = (low + high) / 2
            if parts[middle].pages.upperBound <= page { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The part that a page is in; nil for one under the policy of the buffer.
    subscript(page: UInt64) -> Part? {
        let place = place(of: page)
        return place < parts.count && parts[place].pages.contains(page) ? parts[place] : nil
    }

    /// The parts that have pages of a range.
    func overlapping(_ pages: Range<UInt64>) -> ArraySlice<Part> {
        let first = place(of: pages.lowerBound)
        return parts[first...].prefix { $0.pages.lowerBound < pages.upperBound }
    }

    /// Where the first pages of a range end that are all under one policy.
    func end(ofFirstStretchIn pages: Range<UInt64>) -> UInt64 {
        let place = place(of: pages.lowerBound)
        guard place < parts.count else { return pages.upperBound }
        let part = parts[place].pages
        return min(pages.upperBound, part.contains(pages.lowerBound) ? part.upperBound : part.lowerBound)
    }

    /// Gives pages a policy, or with nil that of the buffer; false where there would be too many parts.
    mutating func set(_ policy: (MemoryPolicy, EffectivePolicy)?, for pages: Range<UInt64>) -> Bool {
        guard !pages.isEmpty else { return true }
        let old = overlapping(pages)
        var new: [Part] = []
        if let first = old.first, first.pages.lowerBound < pages.lowerBound {
            new.append(first)
            new[0].pages = first.pages.lowerBound..<pages.lowerBound
        }
        if let policy { new.append(Part(pages: pages, policy: policy.0, effective: policy.1)) }
        if let last = old.last, last.pages.upperBound > pages.upperBound {
            var rest = last
            rest.pages = pages.upperBound..<last.pages.upperBound
            new.append(rest)
        }
        var range = old.startIndex..<old.endIndex
        // Neighbours of one policy are one part.
        if range.lowerBound > 0, let first = new.first, parts[range.lowerBound - 1].adjoins(first) {
            new[0].pages = parts[range.lowerBound - 1].pages.lowerBound..<first.pages.upperBound
            range = range.lowerBound - 1..<range.upperBound
        }
        if range.upperBound < parts.count, let last = new.last, last.adjoins(parts[range.upperBound]) {
            new[new.count - 1].pages = last.pages.lowerBound..<parts[range.upperBound].pages.upperBound
            range = range.lowerBound..<range.upperBound + 1
        }
        guard parts.count - range.count + new.count <= Self.limit else { return false }
        parts.replaceSubrange(range, with: new)
        return true
    }
}

extension RangePolicies.Part {
    fileprivate func adjoins(_ next: Self) -> Bool {
        pages.upperBound == next.pages.lowerBound && policy == next.policy
    }
}
