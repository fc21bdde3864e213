import MachineTopology

extension Tracer {
    /// Records a change of the machine, in the order of the changes.
    func note(_ event: MachineEvent, _ nodes: NodeMap) {
        switch event {
        case .block(let number, let state):
            guard isEnabled(.blockState) else { return }
            let node = nodes.node(of: number * UInt64(nodes.framesPerBlock))
            record(TraceEvent(.blockState, detail: state.traceDetail, start: number, to: UInt16(node.id)))
        case .blockRemoved(let number):
            guard isEnabled(.blockState) else { return }
            let node = nodes.node(of: number * UInt64(nodes.framesPerBlock))
            record(
                TraceEvent(
                    .blockState, detail: MemoryBlockState.absent.traceDetail, start: number, to: UInt16(node.id)))
        case .capabilities(let node, let capabilities):
            guard isEnabled(.isolationSet) else { return }
            record(TraceEvent(.isolationSet, to: UInt16(node), value: UInt64(capabilities.rawValue)))
        case .blockAdded(let number):
            guard isEnabled(.blockState) else { return }
            let node = nodes.node(of: number * UInt64(nodes.framesPerBlock))
            record(
                TraceEvent(
                    .blockState, detail: MemoryBlockState.offline.traceDetail, start: number, to: UInt16(node.id),
                    value: 1))
        case .nodeAdded(let id), .nodeRemoved(let id):
            guard isEnabled(.nodeState) else { return }
            var isThere: UInt8 = 0
            if case .nodeAdded = event { isThere = 1 }
            record(TraceEvent(.nodeState, detail: isThere, to: UInt16(id)))
        default: break
        }
    }

    /// Records a failure of a page.
    func note(_ failure: PageFailure) {
        let kind: TraceEvent.Kind =
            switch failure.kind {
            case .poison: .pagePoisoned
            case .offline: .pageRetired
            case .clear: .pageCleared
            case .correctable: .pageCorrected
            }
        guard isEnabled(kind) else { return }
        record(
            TraceEvent(
                kind, buffer: failure.buffer ?? 0, start: failure.physicalAddress, count: failure.count,
                to: UInt16(failure.node), flags: failure.isByPage ? .byPage : [], value: failure.offset))
    }

    /// Records that the link of a device goes down or comes up.
    func noteLink(of device: Device, _ state: LinkState) {
        guard isEnabled(.linkState) else { return }
        record(TraceEvent(.linkState, detail: state == .up ? 1 : 0, to: UInt16(device.node.id)))
    }

    /// Records errors of a link, which carries nothing for some nanoseconds.
    func noteStall(of device: Device, errors: UInt64, nanoseconds: UInt64) {
        guard isEnabled(.linkStalled) else { return }
        record(TraceEvent(.linkStalled, count: errors, to: UInt16(device.node.id), value: nanoseconds))
    }
}

extension MemoryBlockState {
    /// The place in ``TraceEvent/Kind/blockStates``.
    fileprivate var traceDetail: UInt8 {
        switch self {
        case .online: 0
        case .goingOffline: 1
        case .offline: 2
        case .absent: 3
        }
    }
}
