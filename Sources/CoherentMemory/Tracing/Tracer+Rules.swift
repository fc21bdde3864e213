import MachineTopology

extension Tracer {
    /// Records that a policy was set: of a task, or of a buffer or some of its pages.
    func notePolicy(_ policy: MemoryPolicy, of buffer: UInt64, pages: Range<UInt64>?, by task: Int32) {
        guard isEnabled(.policySet) else { return }
        var (bits, flags) = TraceEvent.bits(of: policy.nodes)
        if pages != nil { flags.insert(.range) }
        record(
            TraceEvent(
                .policySet, detail: UInt8(policy.mode.constant), pid: task, buffer: buffer,
                start: pages?.lowerBound ?? 0, count: pages.map { UInt64($0.count) } ?? 0, flags: flags, value: bits))
    }

    /// Records that the tasks of a group may use other nodes.
    func noteCpuset(_ group: ControlGroup, _ mems: IDSet) {
        guard isEnabled(.cpusetSet) else { return }
        let (bits, flags) = TraceEvent.bits(of: mems)
        record(TraceEvent(.cpusetSet, flags: flags, value: bits, other: group.id))
    }
}
