import Charts

extension TraceAnalysis {
    /// What the reader must know about what is not in the report; a line each.
    public var notes: [String] {
        var notes: [String] = []
        if isCutOff { notes.append("The trace is cut off or damaged: this is what was recorded before.") }
        if lost > 0 { notes.append("The recorder lost \(lost) events: sums of events are too small by what they had.") }
        if unfollowed > 0 {
            notes.append("Of buffers beyond the first \(Self.bufferLimit), \(unfollowed) events are in the sums alone.")
        }
        if untrackedPages > 0 {
            notes.append(
                "The pages of \(untrackedPages) changes are in the sums alone: there were too many to be followed one by one."
            )
        }
        return notes
    }

    /// The report as text: facts, then tables.
    public var text: String {
        var text = ""
        for (name, value) in facts where !value.isEmpty { text += "\(name) \(value)\n" }
        text += "seconds \(Self.seconds(bins.offset(of: bins.last)))\nsamples \(samples.count)\nlost \(lost)\n"
        return text + tables.map(\.text).joined()
    }
}
