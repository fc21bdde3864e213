/// What a replay could not know or do.
struct ReplayNotes {
    /// Pages that came in around a touch and were taken for touched.
    var assumed: UInt64 = 0
    /// Requests that failed.
    var failed: UInt64 = 0
    /// Policies that name nodes that they may not name.
    var policies: UInt64 = 0
    /// Whether a policy or cpuset names nodes that events have no bit for.
    var manyNodes = false
    /// Whether a buffer was direct.
    var direct = false
    /// Whether a touch was refused because of a user's share.
    var share = false
    /// Whether the frames are those of the record, too: nothing had pages when it began.
    var hasSameFrames = true

    /// A sentence each.
    func sentences(of trace: RecordedTrace, _ options: ReplayOptions) -> [String] {
        var sentences: [String] = []
        if !trace.isComplete {
            sentences.append(
                "The trace is of an older version: it lacks frees, requests, settings and repeated touches.")
        }
        if trace.isCutOff { sentences.append("The trace is cut off.") }
        if trace.lost > 0 { sentences.append("The recorder lost \(trace.lost) events.") }
        if let filter = trace.facts["filter"] {
            sentences.append("The trace has only what its filter let through: \(filter)")
        }
        if !hasSameFrames { sentences.append("Buffers had pages before the record: only their nodes are known.") }
        if assumed > 0 {
            sentences.append("\(assumed) pages that came in around a touch are taken for touched one by one.")
        }
        if policies > 0 { sentences.append("\(policies) policies name nodes that they may not name here.") }
        if failed > 0 { sentences.append("\(failed) requests fail.") }
        if manyNodes { sentences.append("Policies or cpusets name nodes above 63, of which the trace has none.") }
        if direct { sentences.append("Direct buffers are replayed as tracked ones.") }
        if share { sentences.append("Refusals by a user's share of memory are not replayed.") }
        let usesMore = options.demotion == true || (options.balancing ?? 0) > 0
        if usesMore {
            sentences.append("Repeated touches are known only where the record had demotion or balancing on.")
        }
        return sentences
    }
}
