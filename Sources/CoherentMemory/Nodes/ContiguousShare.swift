/// The share of a node that is reserved for contiguous buffers, in pages (a directory of /sys/kernel/mm/cma).
public struct ContiguousUsage: Sendable, Hashable {
    /// Pages of the share whose blocks are online (total_pages).
    public var total = 0
    /// Pages that are free (available_pages, and nr_free_cma).
    public var free = 0
    /// The longest free run (maxchunk).
    public var largest = 0
}

/// The frames of a node set aside for buffers that want them contiguous: the last of those it begins with (struct cma).
///
/// No other page ever gets one, so that a run is to be had at once, without anything being moved. The node's lock guards
/// it. Free frames have no owner, as those of the allocator.
struct ContiguousShare {
    /// What runs are aligned to at most: as Linux's CONFIG_CMA_ALIGNMENT, 2^8 pages.
    static let maximumAlignment = 8

    /// The frames, whether their blocks are online or not; whole units of 512 (CMA_MIN_ALIGNMENT_PAGES).
    let frames: Range<Int>
    /// Frames of blocks that are not offline.
    var total = 0
    /// Free frames of blocks that are online.
    private(set) var free = 0
    /// The same as runs, ascending, none next to another.
    private(set) var stretches: [Range<Int>] = []

    /// A share of the last frames before `end`, none of them online yet.
    init(bytes: UInt64, end: Int) {
        let units = (bytes + HugePage.size - 1) / HugePage.size
        frames = end - Int(units) * HugePage.frames..<end
    }

    var usage: ContiguousUsage {
        ContiguousUsage(total: total, free: free, largest: stretches.lazy.map(\.count).max() ?? 0)
    }

    /// The part of a range that is the share's.
    func part(of range: Range<Int>) -> Range<Int> { range.clamped(to: frames) }

    /// The parts of a range that are not the share's: in front of it and behind.
    func others(in range: Range<Int>) -> [Range<Int>] {
        let part = part(of: range)
        if part.isEmpty { return [range] }
        return [range.lowerBound..<part.lowerBound, part.upperBound..<range.upperBound].filter { !$0.isEmpty }
    }

    /// The multiple at which a run of so many frames begins (the order of dma_alloc_contiguous()).
    static func alignment(of count: Int) -> Int {
        let order = count <= 1 ? 0 : Int.bitWidth - (count - 1).leadingZeroBitCount
        return 1 << min(order, maximumAlignment)
    }

    /// Takes a run of any length: out of the shortest stretch that has one, the lowest of several.
    mutating func take(_ count: Int) -> Range<Int>? {
        guard let (index, run) = place(for: count) else { return nil }
        take(run, at: index)
        return run
    }

    /// Whether a run of so many frames is to be had.
    func hasRun(of count: Int) -> Bool { place(for: count) != nil }

    private func place(for count: Int) -> (index: Int, run: Range<Int>)? {
        let mask = Self.alignment(of: count) - 1
        var best: Int?
        for (index, stretch) in stretches.enumerated() where stretch.count < best.map({ stretches[$0].count }) ?? .max {
            if (stretch.lowerBound + mask) & ~mask + count <= stretch.upperBound { best = index }
        }
        guard let best else { return nil }
        let start = (stretches[best].lowerBound + mask) & ~mask
        return (best, start..<start + count)
    }

    private mutating func take(_ range: Range<Int>, at index: Int) {
        let stretch = stretches[index]
        let rest = [stretch.lowerBound..<range.lowerBound, range.upperBound..<stretch.upperBound].filter { !$0.isEmpty }
        stretches.replaceSubrange(index...index, with: rest)
        free -= range.count
    }

    /// The index of the first stretch that ends behind a frame.
    private func index(behind frame: Int) -> Int {
        var (low, high) = (0, stretches.count)
        while low < high {
            let middle = (low + high) / 2
            if stretches[middle].upperBound <= frame { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Takes what is free of a range out, of a block that goes offline.
    ///
    /// - Returns: how many frames that are.
    mutating func isolate(_ range: Range<Int>) -> Int {
        guard !range.isEmpty else { return 0 }
        var count = 0
        while case let index = index(behind: range.lowerBound), index < stretches.count,
            stretches[index].lowerBound < range.upperBound
        {
            let part = stretches[index].clamped(to: range)
            take(part, at: index)
            count += part.count
        }
        return count
    }

    /// Puts frames to the free ones.
    mutating func release(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        assert(frames.contains(range.lowerBound) && range.upperBound <= frames.upperBound)
        free += range.count
        var merged = range
        let first = index(behind: range.lowerBound - 1)
        var last = first
        while last < stretches.count, stretches[last].lowerBound <= range.upperBound {
            assert(!stretches[last].overlaps(range))
            merged =
                min(merged.lowerBound, stretches[last].lowerBound)..<max(merged.upperBound, stretches[last].upperBound)
            last += 1
        }
        stretches.replaceSubrange(first..<last, with: CollectionOfOne(merged))
    }
}
