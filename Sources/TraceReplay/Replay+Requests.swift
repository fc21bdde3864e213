import CoherentMemory
import SystemPackage

/// What programs and users asked for, and the commands of devices.
extension Replay {
    func request(_ event: TraceEvent) {
        guard let request = TraceEvent.Request(rawValue: event.detail) else { return }
        let pages = event.pageRange
        let bytes = pages.lowerBound << Page.shift..<pages.upperBound << Page.shift
        let target = node(event.to)
        switch request {
        case .migrateNode, .reclaim, .compact: break
        default: if event.buffer == 0 { return }
        }
        // What cannot be done here could not be done there either, or is a difference that the figures show.
        do throws(Errno) {
            switch request {
            case .migrate:
                guard let target else { return }
                let buffer = buffer(of: event, with: pages)
                try machine.migrate(buffer, bytes: event.count == 0 ? nil : bytes, to: target.id)
            case .move:
                guard let target, !pages.isEmpty else { return }
                let reasons = MoveReason.allCases
                let reason = event.other < UInt64(reasons.count) ? reasons[Int(event.other)] : .range
                let account = MigrationAccount(reason)
                let buffer = buffer(of: event, with: pages)
                if event.from == TraceEvent.noNode {
                    try machine.migrate(buffer, ranges: [bytes], to: target.id, account: account)
                } else {
                    try machine.migrate(
                        buffer, ranges: [bytes], steps: [(source: Int(event.from), target: target.id)],
                        account: account)
                }
            case .migrateNode:
                guard let target, let source = node(event.from) else { return }
                try machine.migrate(node: source, to: target.id)
            case .conform:
                guard
                    let recorded = policy(
                        of: event, mode: UInt8(truncatingIfNeeded: event.other), flag: event.other >> 8)
                else { return }
                _ = machine.conform(
                    buffer(of: event, with: pages), bytes: bytes, to: policy ?? recorded, local: origin(of: event).node)
            case .allocate:
                guard !pages.isEmpty else { return }
                try machine.allocate(buffer(event.buffer), bytes: bytes, keepsSize: true, origin: origin(of: event))
            case .reclaim:
                guard let target else { return }
                try machine.reclaim(
                    Int(clamping: event.count), of: target,
                    demotingTo: event.value == 0 ? [] : machine.demotionTargets(of: target),
                    waitForUse: { self.waitForUse() })
            case .compact: if let target { try machine.compact(target) }
            case .copySpace: machine.copy(buffer(event.other), to: buffer(event.buffer))
            case .remap:
                guard event.other <= TraceEvent.pageLimit else { return }
                machine.move(
                    bytes, of: buffer(event.buffer), to: event.other << Page.shift, keepsPolicy: event.value != 0)
            case .makeContiguous:
                try machine.makeContiguous(buffer(event.buffer), on: Int(event.to))
            case .reserve: try machine.reserve(pages, of: buffer(event.buffer))
            case .releaseContiguous: try machine.releaseContiguous(buffer(event.buffer))
            }
        } catch {
            counts.failed += 1
        }
    }

    func execute(_ event: TraceEvent) {
        guard let device = device(event.to), Int(event.detail) < DeviceCommand.words.count else { return }
        var range: BufferRange?
        if event.buffer != 0 {
            range = try? BufferRange(buffer(event.buffer), at: event.start, length: event.count)
            guard range != nil else { return }
        }
        if event.flags.contains(.continues) {
            target = range
            return
        }
        defer { target = nil }
        // A replay has no bytes: touches take their places.
        var commands: [DeviceCommand] = []
        switch (DeviceCommand.words[Int(event.detail)], range) {
        case ("fill", let range?): commands = [event.other == 0 ? .read(range) : .write(range)]
        case ("write", let range?): commands = [.write(range)]
        case ("read", let range?), ("crc32", let range?): commands = [.read(range)]
        case ("exclusive", let range?): commands = [.exclusive(range)]
        case ("copy", let range?): commands = [.read(range)] + (target.map { [.write($0)] } ?? [])
        default: break
        }
        for command in commands { machine.execute(command, on: device, by: max(0, event.pid)) }
    }
}
