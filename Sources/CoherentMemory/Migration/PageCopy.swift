import SystemPackage

/// Pages to copy into fresh frames, gathered into runs: a run is copied by one call.
///
/// Must be flushed before the buffer's lock is given up.
struct PageCopy: ~Copyable {
    private var source: Node?
    private var target: Node?
    private var from: PFN = 0
    private var to: PFN = 0
    private var count = 0

    /// Adds a page; what does not follow the pages before it is the start of a new run.
    mutating func add(_ from: PFN, of source: Node, to: PFN, of target: Node) {
        if count > 0, self.source === source, self.target === target,
            source.index(of: from) == source.index(of: self.from) + count,
            target.index(of: to) == target.index(of: self.to) + count
        {
            count += 1
            return
        }
        flush()
        (self.source, self.target, self.from, self.to) = (source, target, from, to)
        count = 1
    }

    /// Copies what is gathered.
    mutating func flush() {
        if count > 0, let source, let target { target.copy(count, from: from, of: source, to: to) }
        count = 0
    }
}

/// Pages that go from one node to another, so that counters are changed once a run rather than once a page.
struct CrossingTally: ~Copyable {
    private struct Run {
        let source: Node
        let target: Node
        var pages = 0
        var active = 0
        var cached = 0
        var written = 0
    }

    private var runs: [Run] = []

    mutating func add(_ entry: PageTableEntry, from source: Node, to target: Node) {
        let isSame = runs.last.map { $0.source === source && $0.target === target } ?? false
        if !isSame { runs.append(Run(source: source, target: target)) }
        let last = runs.count - 1
        runs[last].pages += 1
        if entry.isActive { runs[last].active += 1 }
        if entry.isCached { runs[last].cached += 1 }
        if entry.isWritten { runs[last].written += 1 }
    }

    consuming func flush(in state: inout Buffer.State) {
        for run in runs {
            state.addPages(-run.pages, node: run.source.index)
            state.addPages(run.pages, node: run.target.index)
            run.source.counters.active.add(-run.active)
            run.target.counters.active.add(run.active)
            run.source.counters.cached.add(-run.cached)
            run.target.counters.cached.add(run.cached)
            run.source.counters.written.add(-run.written)
            run.target.counters.written.add(run.written)
        }
    }
}
