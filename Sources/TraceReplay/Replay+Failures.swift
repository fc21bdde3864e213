import CoherentMemory
import MachineTopology
import SystemPackage

/// Blocks and nodes that come and go, and frames that fail.
extension Replay {
    func setBlock(_ event: TraceEvent) {
        let before = blocks.updateValue(event.detail, forKey: event.start)
        let block = machine.block(event.start)
        switch event.detail {
        case 0:
            // Not after an attempt to take it offline, which failed.
            if before != 1, let block, block.state == .offline {
                attempt { () throws(Errno) in try machine.online(block) }
            }
        case 1: if let block { attempt { () throws(Errno) in try machine.offline(block) } }
        case 2:
            if event.value == 1, block == nil {
                let (address, overflow) = event.start.multipliedReportingOverflow(by: machine.topology.blockSize)
                if !overflow { attempt { () throws(Errno) in try machine.probe(address: address) } }
            } else if event.flags.contains(.initial), let block, block.state == .online {
                attempt { () throws(Errno) in try machine.offline(block) }
            }
        default: break
        }
    }

    func setNode(_ event: TraceEvent) {
        guard let device = device(event.to), device.isPresent == (event.detail == 0) else { return }
        attempt { () throws(Errno) in
            if event.detail == 0 { try machine.remove(device, isForced: true) } else { try machine.rescan() }
        }
    }

    /// Frames that fail: those of the record where they are the same ones, else those of the pages that had them.
    func fail(_ event: TraceEvent) {
        let page = event.value >> Page.shift
        attempt { () throws(Errno) in
            if event.kind == .pageCleared {
                _ = try machine.clearFailure(address: failed.removeValue(forKey: event.start) ?? event.start)
                return
            }
            if event.flags.contains(.byPage), event.buffer != 0, page < TraceEvent.pageLimit {
                let buffer = buffer(of: event, with: page..<page + 1)
                noteFrame(of: page, buffer, for: event)
                try machine.poison(
                    buffer, bytes: page << Page.shift..<(page + 1) << Page.shift, origin: origin(of: event))
                return
            }
            var address = event.start
            if !counts.hasSameFrames, event.buffer != 0, let own = machine.address(of: page, of: buffer(event.buffer)) {
                address = own
            }
            failed[event.start] = address
            if event.kind == .pagePoisoned {
                try machine.poison(address: address)
            } else {
                try machine.softOffline(address: address)
            }
        }
    }

    func noteFrame(of page: UInt64, _ buffer: Buffer, for event: TraceEvent) {
        if let address = machine.address(of: page, of: buffer) { failed[event.start] = address }
    }
}
