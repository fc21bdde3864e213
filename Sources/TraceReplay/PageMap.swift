/// The nodes of the pages of a buffer, in runs.
struct PageMap {
    private struct Run {
        var pages: Range<UInt64>
        var node: UInt16
    }

    /// Ascending, none overlaps another, neighbours of one node are one.
    private var runs: [Run] = []

    /// The place of the first run that ends behind a page.
    private func place(of page: UInt64) -> Int {
        var (low, high) = (0, runs.count)
        while low < high {
            let middle = (low + high) / 2
            if runs[middle].pages.upperBound <= page { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Puts pages on a node, or with nil on none.
    mutating func set(_ pages: Range<UInt64>, to node: UInt16?) {
        guard !pages.isEmpty else { return }
        let first = place(of: pages.lowerBound)
        var last = first
        while last < runs.count, runs[last].pages.lowerBound < pages.upperBound { last += 1 }
        var new: [Run] = []
        if first < last, runs[first].pages.lowerBound < pages.lowerBound {
            new.append(Run(pages: runs[first].pages.lowerBound..<pages.lowerBound, node: runs[first].node))
        }
        if let node { new.append(Run(pages: pages, node: node)) }
        if first < last, runs[last - 1].pages.upperBound > pages.upperBound {
            new.append(Run(pages: pages.upperBound..<runs[last - 1].pages.upperBound, node: runs[last - 1].node))
        }
        var range = first..<last
        if let run = new.first, first > 0, runs[first - 1].pages.upperBound == run.pages.lowerBound,
            runs[first - 1].node == run.node
        {
            new[0].pages = runs[first - 1].pages.lowerBound..<run.pages.upperBound
            range = first - 1..<last
        }
        if let run = new.last, last < runs.count, run.pages.upperBound == runs[last].pages.lowerBound,
            runs[last].node == run.node
        {
            new[new.count - 1].pages = run.pages.lowerBound..<runs[last].pages.upperBound
            range = range.lowerBound..<last + 1
        }
        runs.replaceSubrange(range, with: merged(new))
    }

    private func merged(_ runs: [Run]) -> [Run] {
        runs.reduce(into: []) { merged, run in
            if let last = merged.last, last.pages.upperBound == run.pages.lowerBound, last.node == run.node {
                merged[merged.count - 1].pages = last.pages.lowerBound..<run.pages.upperBound
            } else {
                merged.append(run)
            }
        }
    }

    /// Moves pages to where none are.
    mutating func move(_ pages: Range<UInt64>, to start: UInt64) {
        let first = place(of: pages.lowerBound)
        let moved = runs[first...].prefix { $0.pages.lowerBound < pages.upperBound }
            .map { Run(pages: $0.pages.clamped(to: pages), node: $0.node) }
        set(pages, to: nil)
        for run in moved {
            let (new, overflow) = start.addingReportingOverflow(run.pages.lowerBound - pages.lowerBound)
            guard !overflow, new <= UInt64.max - UInt64(run.pages.count) else { return }
            set(new..<new + UInt64(run.pages.count), to: run.node)
        }
    }

    /// The runs, ascending.
    var all: [(pages: Range<UInt64>, node: Int)] { runs.map { ($0.pages, Int($0.node)) } }

    /// The number of pages on each node.
    var counts: [Int: UInt64] {
        runs.reduce(into: [:]) { $0[Int($1.node), default: 0] += $1.pages.upperBound - $1.pages.lowerBound }
    }
}
