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
        _ run: PlacedRun, of buffer: UInt64, _ context: borrowing AllocationContext, _ origin: Origin, _ nodes: [Node]
    ) {
        guard isEnabled(.touchPlaced) else { return }
        recordPlaced(run.pages, of: buffer, on: nodes[run.node], intended: nodes[Int(run.intended)], context, origin)
    }

    /// Records that pages of a buffer got frames.
    @inline(__always)
    func notePlaced(
        _ pages: Range<UInt64>, of buffer: UInt64, on node: Node, intended: Node,
        _ context: borrowing AllocationContext, _ origin: Origin
    ) {
        guard isEnabled(.touchPlaced) else { return }
        recordPlaced(pages, of: buffer, on: node, intended: intended, context, origin)
    }

    @inline(never)
    private func recordPlaced(
        _ pages: Range<UInt64>, of buffer: UInt64, on node: Node, intended: Node,
        _ context: borrowing AllocationContext, _ origin: Origin
    ) {
        record(
            TraceEvent(
                .touchPlaced, detail: UInt8(context.policy.mode.constant), pid: origin.pid, buffer: buffer,
                start: pages.lowerBound, count: UInt64(pages.count), from: UInt16(intended.id), to: UInt16(node.id),
                local: UInt16(truncatingIfNeeded: origin.node), flags: origin.isDevice ? .byDevice : []))
    }

    /// Records that a touch got no frame.
    func noteRefused(_ pages: Range<UInt64>, of buffer: UInt64, _ error: Errno, _ origin: Origin) {
        guard isEnabled(.touchRefused) else { return }
        record(
            TraceEvent(
                .touchRefused, pid: origin.pid, buffer: buffer, start: pages.lowerBound, count: UInt64(pages.count),
                local: UInt16(truncatingIfNeeded: origin.node), flags: origin.isDevice ? .byDevice : [],
                value: UInt64(error.rawValue)))
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
