import SystemPackage

/// Consecutive pages that got frames of one node.
struct PlacedRun {
    var pages: Range<UInt64>
    /// The place of the node.
    let node: Int
    /// The place of the node that was meant.
    let intended: UInt16

    /// Appends a run that follows; false for one that does not.
    mutating func append(_ next: PlacedRun) -> Bool {
        guard next.pages.lowerBound == pages.upperBound, next.node == node, next.intended == intended else {
            return false
        }
        pages = pages.lowerBound..<next.pages.upperBound
        return true
    }
}

extension Tracer {
    /// Records that pages of a buffer got frames.
    @inline(__always)
    func notePlaced(
        _ run: PlacedRun, of buffer: UInt64, _ context: borrowing AllocationContext, _ origin: Origin,
        _ request: inout TouchRequest, _ nodes: [Node]
    ) {
        guard isEnabled(.touchPlaced) else { return }
        recordPlaced(
            run.pages, of: buffer, on: nodes[run.node], intended: nodes[Int(run.intended)], context, origin,
            &request)
    }

    /// Records that pages of a buffer got frames.
    @inline(__always)
    func notePlaced(
        _ pages: Range<UInt64>, of buffer: UInt64, on node: Node, intended: Node,
        _ context: borrowing AllocationContext, _ origin: Origin, _ request: inout TouchRequest
    ) {
        guard isEnabled(.touchPlaced) else { return }
        recordPlaced(pages, of: buffer, on: node, intended: intended, context, origin, &request)
    }

    @inline(never)
    private func recordPlaced(
        _ pages: Range<UInt64>, of buffer: UInt64, on node: Node, intended: Node,
        _ context: borrowing AllocationContext, _ origin: Origin, _ request: inout TouchRequest
    ) {
        record(
            TraceEvent(
                .touchPlaced, detail: UInt8(context.policy.mode.constant), pid: origin.pid, buffer: buffer,
                start: pages.lowerBound, count: UInt64(pages.count), from: UInt16(intended.id), to: UInt16(node.id),
                local: UInt16(truncatingIfNeeded: origin.node), flags: request.nextFlags(origin),
                other: request.word(for: pages)))
    }

    /// Records that a touch got no frame, or not for all of its pages.
    func noteRefused(_ request: inout TouchRequest, of buffer: UInt64, _ error: Errno, _ origin: Origin) {
        guard isEnabled(.touchRefused) else { return }
        let pages = request.pages
        record(
            TraceEvent(
                .touchRefused, pid: origin.pid, buffer: buffer, start: pages.lowerBound, count: UInt64(pages.count),
                local: UInt16(truncatingIfNeeded: origin.node), flags: request.nextFlags(origin),
                value: UInt64(error.rawValue), other: request.word(for: pages)))
    }

    /// Records that there were no frames for all pages of a touch, so that the request is repeated for fewer.
    func noteRetried(_ request: TouchRequest, of buffer: UInt64, _ origin: Origin) {
        guard isEnabled(.touchRetried) else { return }
        var request = request
        record(
            TraceEvent(
                .touchRetried, pid: origin.pid, buffer: buffer, start: request.pages.lowerBound,
                count: UInt64(request.pages.count), local: UInt16(truncatingIfNeeded: origin.node),
                flags: request.nextFlags(origin)))
    }

    /// Records that a request found pages with frames.
    ///
    /// - Parameter continues: whether other pages of the touch had none, so that it has events before.
    func noteFound(
        _ pages: Range<UInt64>, of buffer: UInt64, _ access: TraceEvent.Access, continues: Bool, _ origin: Origin
    ) {
        guard isEnabled(.touchFound) else { return }
        record(
            TraceEvent(
                .touchFound, detail: access.rawValue, pid: origin.pid, buffer: buffer, start: pages.lowerBound,
                count: UInt64(pages.count), local: UInt16(truncatingIfNeeded: origin.node),
                flags: continues ? .continues : []))
    }

    /// Records that pages hold something.
    ///
    /// - Parameter isWriteBack: whether they came from the page cache, which had them for some time.
    func noteStored(_ pages: Range<UInt64>, of buffer: UInt64, isWriteBack: Bool) {
        guard isEnabled(.pagesStored), !pages.isEmpty else { return }
        record(
            TraceEvent(
                .pagesStored, detail: isWriteBack ? 1 : 0, buffer: buffer, start: pages.lowerBound,
                count: UInt64(pages.count)))
    }

    /// Records that pages left their buffer on request.
    func noteFreed(_ pages: Range<UInt64>, of buffer: UInt64, byReclaim: Bool = false, flags: TraceEvent.Flags = []) {
        guard isEnabled(.pagesFreed), !pages.isEmpty else { return }
        record(
            TraceEvent(
                .pagesFreed, detail: byReclaim ? 1 : 0, buffer: buffer, start: pages.lowerBound,
                count: UInt64(pages.count), flags: flags))
    }

    /// Records that isolation kept a request from a node.
    func noteIsolated(
        _ refusal: IsolationRefusal, by node: Node, _ pages: Range<UInt64>, of buffer: UInt64, _ origin: Origin
    ) {
        guard isEnabled(.isolationRefused) else { return }
        record(
            TraceEvent(
                .isolationRefused, detail: refusal.rawValue, pid: origin.pid, buffer: buffer,
                start: pages.lowerBound, count: UInt64(pages.count), to: UInt16(node.id),
                local: UInt16(truncatingIfNeeded: origin.node), flags: origin.isDevice ? .byDevice : []))
    }
}

extension Memory {
    /// Counts and records a request that isolation turned away, or sent to another node.
    func countRefusals(
        _ result: borrowing AllocationResult, _ pages: Range<UInt64>, of buffer: UInt64, _ origin: Origin
    ) {
        if result.refused.isEmpty, result.notAllowed.isEmpty { return }
        placer.countRefusals(result)
        let (refused, notAllowed) = (result.refused, result.notAllowed)
        refused.forEach { trace.noteIsolated(.fallback, by: nodes[$0], pages, of: buffer, origin) }
        notAllowed.forEach { trace.noteIsolated(.notAllowed, by: nodes[$0], pages, of: buffer, origin) }
    }
}
