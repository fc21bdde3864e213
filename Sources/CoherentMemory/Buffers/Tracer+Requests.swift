/// What programs and users ask of the machine, beside touches.
extension Tracer {
    /// Records that a buffer exists.
    func noteMade(_ buffer: Buffer, on node: Node? = nil) {
        guard isEnabled(.bufferMade) else { return }
        record(
            TraceEvent(
                .bufferMade, buffer: buffer.id, to: node?.recorded ?? TraceEvent.noNode,
                flags: buffer.isAnonymous ? .anonymous : []))
    }

    /// Records that a buffer is gone.
    func noteRemoved(_ buffer: Buffer) {
        guard isEnabled(.bufferRemoved) else { return }
        record(TraceEvent(.bufferRemoved, buffer: buffer.id))
    }

    /// Records a setting of a buffer, of a node, or of the machine.
    func note(_ setting: TraceEvent.Setting, of buffer: Buffer? = nil, on node: Node? = nil, _ value: UInt64) {
        guard isEnabled(.settingChanged) else { return }
        record(
            TraceEvent(
                .settingChanged, detail: setting.rawValue, buffer: buffer?.id ?? 0,
                to: node?.recorded ?? TraceEvent.noNode, value: value))
    }

    /// Records the settings of automatic balancing.
    func note(_ settings: BalancingSettings) {
        note(.scanPeriod, UInt64(clamping: settings.scanPeriod))
        note(.scanSize, UInt64(clamping: settings.scanSize))
        note(.hotThreshold, UInt64(clamping: settings.hotThreshold))
        note(.balancing, UInt64(settings.mode.rawValue))
    }

    /// Records a request.
    func note(
        _ request: TraceEvent.Request, of buffer: Buffer? = nil, pages: Range<UInt64> = 0..<0, from: Node? = nil,
        to: Node? = nil, by origin: Origin? = nil, count: UInt64? = nil, value: UInt64 = 0, other: UInt64 = 0
    ) {
        guard isEnabled(.requestMade) else { return }
        record(
            TraceEvent(
                .requestMade, detail: request.rawValue, pid: origin?.pid ?? 0, buffer: buffer?.id ?? 0,
                start: pages.lowerBound, count: count ?? UInt64(pages.count),
                from: from?.recorded ?? TraceEvent.noNode, to: to?.recorded ?? TraceEvent.noNode,
                local: origin.map { UInt16(truncatingIfNeeded: $0.node) } ?? TraceEvent.noNode,
                flags: origin?.isDevice == true ? .byDevice : [], value: value, other: other))
    }

    /// Records a request to move pages of ranges, in bytes, from a node, or from all others, to one.
    func noteMoves(
        of buffer: Buffer, _ ranges: [Range<UInt64>], from: Node?, to: Node, _ reason: MoveReason
    ) {
        guard isEnabled(.requestMade) else { return }
        for range in ranges where !range.isEmpty {
            note(
                .move, of: buffer, pages: range.lowerBound >> Page.shift..<Page.count(of: range.upperBound), from: from,
                to: to, other: UInt64(MoveReason.allCases.firstIndex(of: reason) ?? 0))
        }
    }
}

extension Node {
    /// The id in events.
    fileprivate var recorded: UInt16 { UInt16(truncatingIfNeeded: id) }
}

extension HugeMode {
    /// The place in ``allCases``.
    var place: UInt64 { UInt64(Self.allCases.firstIndex(of: self) ?? 0) }
}
