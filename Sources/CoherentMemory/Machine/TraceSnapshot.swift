import LinuxSupport
import MachineTopology
import SystemPackage

/// What is so when a record begins, as events: settings, rights, blocks, buffers, their policies and their pages.
package struct TraceSnapshot {
    private let machine: Machine
    private var buffers: [Buffer]
    private var offset: UInt64 = 0
    private var isBegun = false
    private let time: UInt64

    /// A snapshot whose events have a time.
    package init(of machine: Machine, at time: UInt64) {
        self.machine = machine
        buffers = machine.buffers.reversed()
        self.time = time
    }

    /// The next events; nil at the end.
    package mutating func next() -> [TraceEvent]? {
        var events: [TraceEvent] = []
        if !isBegun {
            isBegun = true
            events = machineEvents
        } else if let buffer = buffers.last {
            if offset == 0 { events = describe(buffer) }
            let runs = machine.runs(of: buffer, from: offset, limit: 1024)
            for run in runs {
                offset = run.offset + run.length
                guard !run.isPoisoned, !run.isLost else { continue }
                events.append(
                    TraceEvent(
                        .touchPlaced, detail: UInt8(MemoryPolicy.Mode.bind.constant), buffer: buffer.id,
                        start: run.offset >> Page.shift, count: run.length >> Page.shift, from: UInt16(run.node),
                        to: UInt16(run.node)))
                if run.isDirty {
                    events.append(
                        TraceEvent(
                            .pagesStored, buffer: buffer.id, start: run.offset >> Page.shift,
                            count: run.length >> Page.shift))
                }
            }
            if runs.count < 1024 {
                buffers.removeLast()
                offset = 0
            }
        } else {
            return nil
        }
        for index in events.indices {
            events[index].time = time
            events[index].flags.insert(.initial)
        }
        return events
    }

    private func setting(
        _ setting: TraceEvent.Setting, of buffer: UInt64 = 0, on node: Int? = nil, _ value: UInt64
    ) -> TraceEvent {
        TraceEvent(
            .settingChanged, detail: setting.rawValue, buffer: buffer, to: node.map { UInt16($0) } ?? TraceEvent.noNode,
            value: value)
    }

    private var machineEvents: [TraceEvent] {
        var events: [TraceEvent] = []
        for node in machine.nodes where node.kind == .coherent {
            events.append(TraceEvent(.isolationSet, to: UInt16(node.id), value: UInt64(node.capabilities.rawValue)))
        }
        for device in machine.devices where device.linkState == .down {
            events.append(TraceEvent(.linkState, detail: 0, to: UInt16(device.node.id)))
        }
        for node in machine.nodes {
            guard node.isPresent else {
                events.append(TraceEvent(.nodeState, detail: 0, to: UInt16(node.id)))
                continue
            }
            let isOnline = machine.topology.node(node.id)?.isOnline ?? true
            for number in machine.blockNumbers(of: node) {
                guard let state = machine.block(number)?.state, (state == .online) != isOnline else { continue }
                events.append(
                    TraceEvent(.blockState, detail: state == .online ? 0 : 2, start: number, to: UInt16(node.id)))
            }
            if node.usage.hugePool.total > 0 {
                events.append(setting(.hugePages, on: node.id, UInt64(node.usage.hugePool.total)))
            }
        }
        if !machine.hasAutomaticWeights {
            for node in machine.nodes {
                events.append(setting(.interleaveWeight, on: node.id, UInt64(node.interleaveWeight)))
            }
        }
        let balancing = machine.balancing
        events += [
            setting(.autoOnline, UInt64(OnlineType.allCases.firstIndex(of: machine.autoOnline) ?? 0)),
            setting(.demotion, machine.isDemotionEnabled ? 1 : 0),
            setting(.scanPeriod, UInt64(balancing.scanPeriod)), setting(.scanSize, UInt64(balancing.scanSize)),
            setting(.hotThreshold, UInt64(balancing.hotThreshold)),
            setting(.balancing, UInt64(balancing.mode.rawValue)),
        ]
        for device in machine.devices {
            let (node, link) = (device.node.id, device.link)
            events += [
                setting(.readLatency, on: node, link.readLatency), setting(.writeLatency, on: node, link.writeLatency),
                setting(.readBandwidth, on: node, link.readBandwidth),
                setting(.writeBandwidth, on: node, link.writeBandwidth),
                setting(.deviceFaults, on: node, UInt64(device.policy.deviceFaults)),
                setting(.cpuFaults, on: node, UInt64(device.policy.cpuFaults)),
            ]
        }
        return events
    }

    private func describe(_ buffer: Buffer) -> [TraceEvent] {
        var events: [TraceEvent] = []
        let node = machine.devices.first { $0.memory === buffer }?.node.id
        events.append(
            TraceEvent(
                .bufferMade, buffer: buffer.id, to: node.map { UInt16($0) } ?? TraceEvent.noNode,
                flags: buffer.isAnonymous ? .anonymous : []))
        guard buffer.fixedSize == nil else { return events }
        if !buffer.isAnonymous { events.append(setting(.size, of: buffer.id, buffer.size)) }
        if buffer.hugeMode != .never { events.append(setting(.hugeMode, of: buffer.id, buffer.hugeMode.place)) }
        for units in buffer.state.withLock({ $0.reserved }).ranges {
            let pages =
                HugePage.pages(of: units.lowerBound).lowerBound..<HugePage.pages(of: units.upperBound).lowerBound
            events.append(
                TraceEvent(
                    .requestMade, detail: TraceEvent.Request.reserve.rawValue, buffer: buffer.id,
                    start: pages.lowerBound, count: UInt64(pages.count)))
        }
        if buffer.isDirect { events.append(setting(.direct, of: buffer.id, 1)) }
        let policy = buffer.policy
        if policy != .default { events.append(Tracer.event(of: policy, of: buffer.id, pages: nil, by: 0)) }
        for part in machine.policyRanges(of: buffer) {
            events.append(
                Tracer.event(
                    of: part.policy, of: buffer.id,
                    pages: part.bytes.lowerBound >> Page.shift..<Page.count(of: part.bytes.upperBound), by: 0))
        }
        if buffer.isPinned { events.append(setting(.pinned, of: buffer.id, 1)) }
        return events
    }
}

extension Machine {
    /// Has all events recorded by an instance that begins with the clock, the filter and the size of the trace, each event with
    /// what it takes to replay it. ``Tracer/remove(_:)`` ends it.
    ///
    /// - Returns: the instance, and what is so before its events.
    /// - Throws: EBUSY if too many instances are in use, ENOMEM where the host refuses the memory of the rings.
    package func beginRecord() throws(Errno) -> (TraceInstance, TraceSnapshot) {
        let main = trace.main
        let clock = main.clock
        // Before the first event: what happens while the snapshot is taken is in both.
        let time = clock.now
        let instance = try trace.addInstance(.all, kilobytes: main.kilobytes, clock: clock, filter: main.filter)
        // What is in force for tasks is told when it is looked up.
        memory.placer.tasks.changed()
        return (instance, TraceSnapshot(of: self, at: time))
    }
}
