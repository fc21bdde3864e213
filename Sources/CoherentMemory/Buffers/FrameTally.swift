/// Pages that go from one node to another, or leave their buffer, so that counters are changed once a run rather than once a
/// page. Their flags are those that they had.
struct FrameTally: ~Copyable {
    private struct Run {
        let source: Int
        let target: Int?
        var pages = 0
        var active = 0
        var cached = 0
        var written = 0
    }

    private var runs: [Run] = []

    /// Adds a page.
    ///
    /// - Parameter target: the place of the node that it goes to, perhaps the same; nil where it leaves its buffer.
    mutating func add(_ entry: PageTableEntry, from source: Int, to target: Int? = nil) {
        var last = runs.count - 1
        if last < 0 || runs[last].source != source || runs[last].target != target {
            runs.append(Run(source: source, target: target))
            last += 1
        }
        runs[last].pages += 1
        if entry.isActive { runs[last].active += 1 }
        if entry.isCached { runs[last].cached += 1 }
        if entry.isWritten { runs[last].written += 1 }
    }

    /// Changes the counters of the nodes and of the buffer.
    ///
    /// - Returns: which pages went from node to node.
    @discardableResult
    mutating func flush(in state: inout Buffer.State, of machine: Machine) -> [Crossing] {
        for run in runs where run.source != run.target {
            func add(_ sign: Int, to index: Int) {
                let node = machine.nodes[index]
                state.addPages(sign * run.pages, node: index)
                node.counters.active.add(sign * run.active)
                node.counters.cached.add(sign * run.cached)
                node.counters.written.add(sign * run.written)
            }
            add(-1, to: run.source)
            if let target = run.target { add(1, to: target) }
        }
        defer { runs = [] }
        return runs.compactMap { run in run.target.map { Crossing(from: run.source, to: $0, pages: run.pages) } }
    }
}
