extension Tracer {
    /// Whether any kind of moves is recorded.
    var tracesMoves: Bool { isEnabled(.migrated) || isEnabled(.demoted) || isEnabled(.promoted) }
}

extension MoveReason {
    /// The kind of event of a move for this reason.
    fileprivate var traceKind: TraceEvent.Kind {
        switch self {
        case .demotion: .demoted
        case .promotion: .promoted
        default: .migrated
        }
    }

    /// The place in ``allCases``.
    fileprivate var traceDetail: UInt8 { UInt8(Self.allCases.firstIndex(of: self) ?? 0) }
}

extension Mover {
    /// Records what a batch moved, run by run. The times of the runs sum up to those of the batch.
    func note(_ outcome: MigrationResult, of buffer: Buffer, _ reason: MoveReason, within duration: Duration) {
        let trace = memory.trace
        guard trace.isEnabled(reason.traceKind), !outcome.runs.isEmpty else { return }
        var real = Share(total: duration.traceNanoseconds, parts: outcome.runs.reduce(0) { $0 + $1.count })
        var modelled = outcome.crossings.map { crossing in
            let time = devices.reduce(0) { $0 + self.time(of: crossing, through: $1) }
            return (crossing: crossing, share: Share(total: time, parts: UInt64(crossing.pages)))
        }
        for run in outcome.runs {
            let place = modelled.firstIndex { $0.crossing.from == run.from && $0.crossing.to == run.to }
            let time = place.map { modelled[$0].share.take(run.count) } ?? 0
            trace.record(
                TraceEvent(
                    reason.traceKind, detail: reason.traceDetail, buffer: buffer.id, start: run.start,
                    count: run.count, from: UInt16(nodes[run.from].id), to: UInt16(nodes[run.to].id), value: time,
                    other: real.take(run.count)))
        }
    }
}

/// A sum that is divided among parts without a rest.
private struct Share {
    let total: UInt64
    let parts: UInt64
    private var taken: UInt64 = 0

    init(total: UInt64, parts: UInt64) {
        self.total = total
        self.parts = parts
    }

    /// What is due for the next `count` parts.
    mutating func take(_ count: UInt64) -> UInt64 {
        let before = due(taken)
        taken = min(parts, taken + count)
        return due(taken) - before
    }

    private func due(_ part: UInt64) -> UInt64 {
        guard parts > 0 else { return 0 }
        let (high, low) = total.multipliedFullWidth(by: part)
        return parts.dividingFullWidth((high, low)).quotient
    }
}
