/// Frames on their way back to their nodes, gathered into runs.
struct FreedFrames: ~Copyable {
    private static let maximumRuns = 256
    /// 32 MiB: giving more back at once would delay the threads that wait for a frame.
    private static let maximumFrames = 8192
    private(set) var runs: [FrameRun] = []
    private var count = 0
    /// Whether all are to be taken at once, however many.
    private let isUnlimited: Bool

    init(isUnlimited: Bool = false) { self.isUnlimited = isUnlimited }

    /// Whether a whole leaf of frames may still be added.
    var hasRoom: Bool { isUnlimited || runs.count < Self.maximumRuns && count < Self.maximumFrames }

    mutating func append(_ pfn: PFN, node: Node) {
        count += 1
        if let last = runs.indices.last, runs[last].end == pfn, node.span.contains(runs[last].start),
            node.span.isInOnePiece(runs[last].start, pfn)
        {
            runs[last].count += 1
        } else {
            runs.append(FrameRun(start: pfn, count: 1))
        }
    }

    /// Gives the frames back, and the memory of pages that went with their tables. The caller holds no lock of a buffer.
    consuming func release(to pool: TablePool) {
        for run in runs { pool.nodes.node(of: run.start).release(run) }
        pool.punchEmptied()
    }
}
