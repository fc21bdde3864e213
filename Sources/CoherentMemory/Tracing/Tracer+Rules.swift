import MachineTopology

extension Tracer {
    /// Records that a policy was set: of a task, or of a buffer or some of its pages.
    func notePolicy(_ policy: MemoryPolicy, of buffer: UInt64, pages: Range<UInt64>?, by task: Int32) {
        guard isEnabled(.policySet) else { return }
        record(Self.event(of: policy, of: buffer, pages: pages, by: task))
    }

    /// The event of a policy.
    static func event(of policy: MemoryPolicy, of buffer: UInt64, pages: Range<UInt64>?, by task: Int32) -> TraceEvent {
        var (bits, flags) = TraceEvent.bits(of: policy.nodes)
        if pages != nil { flags.insert(.range) }
        return TraceEvent(
            .policySet, detail: UInt8(policy.mode.constant), pid: task, buffer: buffer,
            start: pages?.lowerBound ?? 0, count: pages.map { UInt64($0.count) } ?? 0, from: home(policy),
            flags: flags, value: bits, other: policy.flagNumber)
    }

    private static func home(_ policy: MemoryPolicy) -> UInt16 {
        policy.home.map { UInt16(truncatingIfNeeded: $0) } ?? TraceEvent.noNode
    }

    /// Records that pages are to go to where a policy has them.
    func noteConform(_ buffer: UInt64, _ pages: Range<UInt64>, to policy: MemoryPolicy, _ origin: Origin) {
        guard isEnabled(.requestMade) else { return }
        let (bits, flags) = TraceEvent.bits(of: policy.nodes)
        record(
            TraceEvent(
                .requestMade, detail: TraceEvent.Request.conform.rawValue, buffer: buffer, start: pages.lowerBound,
                count: UInt64(pages.count), from: Self.home(policy), local: UInt16(truncatingIfNeeded: origin.node),
                flags: flags, value: bits, other: UInt64(policy.mode.constant) | policy.flagNumber << 8))
    }

    /// Records what is in force for the touches of a thread.
    func notePlacement(of task: Int32, _ policy: MemoryPolicy, _ allowed: IDSet?) {
        guard isEnabled(.taskPlaced) else { return }
        var (bits, flags) = TraceEvent.bits(of: policy.nodes)
        let allowedBits = allowed.map(TraceEvent.bits)
        if let more = allowedBits?.flags { flags.formUnion(more) }
        record(
            TraceEvent(
                .taskPlaced, detail: UInt8(policy.mode.constant), pid: task, start: allowedBits?.bits ?? 0,
                count: allowed == nil ? 0 : 1, from: Self.home(policy), flags: flags, value: bits,
                other: policy.flagNumber))
    }

    /// Records that the tasks of a group may use other nodes.
    func noteCpuset(_ group: ControlGroup, _ mems: IDSet) {
        guard isEnabled(.cpusetSet) else { return }
        let (bits, flags) = TraceEvent.bits(of: mems)
        record(TraceEvent(.cpusetSet, flags: flags, value: bits, other: group.id))
    }
}

extension MemoryPolicy {
    /// The flag in recorded events.
    fileprivate var flagNumber: UInt64 {
        switch flag {
        case nil: 0
        case .static: 1
        case .relative: 2
        }
    }

    /// The policy that events tell by the constant of its mode, its nodes, the number of its flag and its home; nil for what is none.
    package init?(recorded constant: UInt8, nodes: IDSet, flag: UInt64, home: UInt16) {
        guard let mode = Mode(constant: Int32(constant)) else { return nil }
        let listsNodes = mode.traits.list != .none
        guard listsNodes != nodes.isEmpty, mode.traits.list != .one || nodes.count == 1 else { return nil }
        self.init(
            mode: mode, nodes: nodes, flag: flag == 1 ? .static : flag == 2 ? .relative : nil,
            home: home == TraceEvent.noNode ? nil : Int(home))
    }
}
