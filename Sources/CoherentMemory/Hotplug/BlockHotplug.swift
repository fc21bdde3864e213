import LinuxSupport
import MachineTopology
import SystemPackage

extension Hotplug {
    /// See ``Machine/online(_:as:)``.
    func online(_ block: MemoryBlock, as type: OnlineType = .online) throws(Errno) {
        let isCoherent = block.node.kind == .coherent
        guard type != .offline, !(isCoherent && type == .onlineKernel) else { throw .invalidArgument }
        let isFirst = try block.node.zone.withLock { zone throws(Errno) in
            let isFirst = zone.present == 0
            guard block.node.allows(.node) else { throw .notPermitted }
            switch block.state(in: zone) {
            case .offline:
                // As memory_block_online() has it: first the poison has to be cleared.
                guard zone.failed.all(in: zone.frames(of: block.index)).isEmpty else { throw .hardwarePoisoned }
                let kind: ZoneKind =
                    switch type {
                    case .onlineKernel: .normal
                    case .onlineMovable: .movable
                    default: isCoherent ? .movable : zone.defaultKind(of: block.index)
                    }
                zone.online(block.index, in: kind)
                events.note(.block(block.number, .online))
            case .online: throw .invalidArgument
            case .goingOffline: throw .resourceBusy
            case .absent: throw .operationNotSupportedByDevice
            }
            return isFirst
        }
        if isFirst { memory.placer.tasks.nodesChanged(in: nodes) }
        events.announce(.block(block.number, .online))
    }

    /// See ``Machine/offline(_:account:isCancelled:)``.
    func offline(
        _ block: MemoryBlock, account: MigrationAccount? = nil, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let account = account.map { MigrationAccount(partOf: $0) } ?? MigrationAccount(.offline)
        try block.node.zone.withLock { zone throws(Errno) in
            switch block.state(in: zone) {
            case .online:
                zone.isolate(block.index)
                account.expect(zone.used(in: block.index))
                events.note(.block(block.number, .goingOffline))
            case .offline: throw .invalidArgument
            case .goingOffline: throw .resourceBusy
            case .absent: throw .operationNotSupportedByDevice
            }
        }
        events.announce(.block(block.number, .goingOffline))
        do throws(Errno) {
            try drain(block, account, isCancelled: isCancelled)
        } catch {
            let isThere = block.node.zone.withLock { zone in
                guard block.state(in: zone) == .goingOffline else { return false }
                zone.cancelIsolation(of: block.index, frames: block.node.frames)
                events.note(.block(block.number, .online))
                return true
            }
            if isThere { events.announce(.block(block.number, .online)) }
            throw error
        }
        if !block.node.hasMemory { memory.placer.tasks.nodesChanged(in: nodes) }
        events.announce(.block(block.number, .offline))
    }

    /// Moves what is left in an isolated block until nothing is.
    private func drain(_ block: MemoryBlock, _ account: MigrationAccount, isCancelled: () -> Bool) throws(Errno) {
        let node = block.node
        let targets = nodes.refuges(from: node)
        while true {
            if isCancelled() { throw .interrupted }
            let isDrained = try node.zone.withLock { zone throws(Errno) in
                // Its link may be cut.
                guard block.state(in: zone) == .goingOffline else { throw .operationNotSupportedByDevice }
                guard zone.dissolvePool(in: block.index, table: node.frames) else { throw .resourceBusy }
                guard zone.isDrained(block.index) else {
                    guard node.allows(.hotunplug) else { throw .resourceBusy }
                    return false
                }
                zone.offline(block.index)
                events.note(.block(block.number, .offline))
                return true
            }
            if isDrained { return }
            var moved = 0
            // Those first that are least likely to find room, so that nothing else moves in vain.
            let concerned = memory.owners(of: block.frames).sorted { $0.0.id < $1.0.id }
                .map { (buffer: $0, pages: $1, isWhole: $0.isContiguous) }
            for (buffer, pages, isWhole) in concerned.filter(\.isWhole) + concerned.filter({ !$0.isWhole }) {
                do throws(Errno) {
                    try mover.move(
                        buffer, pages: pages, filter: .frames(block.frames),
                        targets: isWhole ? [node] + nodes.contiguousTargets(beside: node) : targets, account: account,
                        isCancelled: isCancelled
                    ) { moved += $0.moved }
                } catch .noMemory {
                    throw .resourceBusy
                }
            }
            // A frame that is neither mapped nor free is on its way, to its first page table or home, and arrives.
            if moved == 0 { SystemThread.sleep(for: .microseconds(100)) }
        }
    }
}
