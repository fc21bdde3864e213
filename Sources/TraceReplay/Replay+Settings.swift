import CoherentMemory
import MachineTopology
import SystemPackage

/// Policies and settings, of buffers, tasks and the machine.
extension Replay {
    func policy(of event: TraceEvent, mode: UInt8, flag: UInt64) -> MemoryPolicy? {
        MemoryPolicy(
            recorded: mode, nodes: TraceEvent.nodes(ofBits: event.value), flag: flag, home: event.from)
    }

    func setPolicy(_ event: TraceEvent) {
        guard policy == nil else { return }
        guard let policy = policy(of: event, mode: event.detail, flag: event.other) else { return }
        guard event.buffer != 0 else {
            // Later traces tell what is in force for each thread.
            if !trace.isComplete { machine.setRecordedPlacement(policy, allowed: nil, of: event.pid) }
            return
        }
        let buffer = buffer(event.buffer)
        let pages = event.pageRange
        do throws(Errno) {
            if event.flags.contains(.range) {
                try machine.setPolicy(
                    policy, of: buffer, bytes: pages.lowerBound << Page.shift..<pages.upperBound << Page.shift)
            } else {
                try machine.setPolicy(policy, of: buffer)
            }
        } catch {
            counts.policies += 1
        }
    }

    func placeTask(_ event: TraceEvent) {
        guard let recorded = policy(of: event, mode: event.detail, flag: event.other) else { return }
        let allowed = event.count == 0 ? nil : TraceEvent.nodes(ofBits: event.start)
        machine.setRecordedPlacement(policy ?? recorded, allowed: allowed, of: event.pid)
    }

    func set(_ event: TraceEvent) {
        guard let setting = TraceEvent.Setting(rawValue: event.detail) else { return }
        let value = event.value
        func balancing(_ limits: ClosedRange<UInt64>, _ change: (inout BalancingSettings, Int) -> Void) {
            guard limits.contains(value) else { return }
            machine.updateBalancing { change(&$0, Int(value)) }
        }
        func link(_ change: (inout Link) -> Void) {
            guard let device = device(event.to) else { return }
            attempt { () throws(Errno) in try device.updateLink(change) }
        }
        switch setting {
        case .demotion: if options.demotion == nil { machine.isDemotionEnabled = value != 0 }
        case .balancing:
            if options.balancing == nil { balancing(0...3) { $0.mode = BalancingMode(rawValue: UInt8($1)) } }
        case .scanPeriod: balancing(10...60_000) { $0.scanPeriod = $1 }
        case .scanSize: balancing(1...65_536) { $0.scanSize = $1 }
        case .hotThreshold: balancing(1...60_000) { $0.hotThreshold = $1 }
        case .interleaveWeight:
            guard let node = node(event.to) else { return }
            attempt { () throws(Errno) in try machine.setInterleaveWeight(Int(clamping: value), of: node) }
        case .automaticWeights: machine.hasAutomaticWeights = value != 0
        case .hugePages: if let node = node(event.to) { machine.setHugePages(Int(clamping: value), of: node) }
        case .autoOnline:
            if value < UInt64(OnlineType.allCases.count) { machine.autoOnline = OnlineType.allCases[Int(value)] }
        case .deviceFaults:
            guard let device = device(event.to) else { return }
            attempt { () throws(Errno) in try device.policy.setDeviceFaults(Int(clamping: value)) }
        case .cpuFaults:
            guard let device = device(event.to) else { return }
            attempt { () throws(Errno) in try device.policy.setCPUFaults(Int(clamping: value)) }
        case .readLatency: link { $0.readLatency = value }
        case .writeLatency: link { $0.writeLatency = value }
        case .readBandwidth: link { $0.readBandwidth = value }
        case .writeBandwidth: link { $0.writeBandwidth = value }
        case .size, .hugeMode, .pinned, .direct: setBuffer(setting, event)
        }
    }

    func setBuffer(_ setting: TraceEvent.Setting, _ event: TraceEvent) {
        guard event.buffer != 0 else { return }
        let buffer = buffer(event.buffer)
        attempt { () throws(Errno) in
            switch setting {
            // The pages behind it have an event of their own.
            case .size: machine.setSize(event.value, of: buffer)
            case .hugeMode:
                guard event.value < UInt64(HugeMode.allCases.count) else { return }
                try machine.setHugeMode(HugeMode.allCases[Int(event.value)], of: buffer)
            case .pinned: try machine.setPinned(event.value != 0, of: buffer)
            case .direct: counts.direct = counts.direct || event.value != 0
            default: break
            }
        }
    }
}
