import LinuxSupport
import MachineTopology
import SystemPackage

extension Hotplug {
    /// Brings every block online that may be in the zone.
    func online(_ device: Device, as type: OnlineType) throws(Errno) {
        try change(device, through: .onlineInProgress, orElse: .onlineFailed) { () throws(Errno) in
            for number in nodes.blockNumbers(of: device.node) {
                guard let block = nodes.block(number), block.state != .online else { continue }
                do throws(Errno) { try online(block, as: type) } catch .invalidArgument { continue }
            }
        }
    }

    /// See ``Machine/offline(_:account:isCancelled:)``.
    func offline(
        _ device: Device, account: MigrationAccount? = nil, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try change(device, through: .offlineInProgress, orElse: .offlineFailed) { () throws(Errno) in
            for number in nodes.blockNumbers(of: device.node).reversed() {
                guard let block = nodes.block(number), block.state != .offline else { continue }
                do throws(Errno) {
                    try offline(block, account: account, isCancelled: isCancelled)
                } catch .invalidArgument {
                    // Another thread was faster.
                }
            }
        }
    }

    /// Runs a transition, whose states are noted and announced.
    func change(
        _ device: Device, through: DeviceState, orElse failure: DeviceState, _ body: () throws(Errno) -> Void
    ) throws(Errno) {
        func tell(_ state: DeviceState) -> MachineEvent { .device(name: device.name, state: state) }
        try device.begin(through) { events.note(tell(through)) }
        events.announce(tell(through))
        do throws(Errno) {
            try body()
        } catch {
            device.end(failure) { events.note(tell(failure)) }
            events.announce(tell(failure))
            throw error
        }
        let state: DeviceState = device.node.hasMemory ? .online : .offline
        device.end(nil) { events.note(tell(state)) }
        events.announce(tell(state))
    }

    /// See ``Machine/probe(address:)``.
    func probe(address: UInt64) throws(Errno) {
        guard address.isMultiple(of: blockSize), let block = nodes.place(ofBlock: address / blockSize)
        else { throw .invalidArgument }
        try block.node.zone.withLock { zone throws(Errno) in
            guard block.node.isPresent, block.node.incarnation == block.incarnation else {
                throw .operationNotSupportedByDevice
            }
            // Memory that no driver has is not added block by block.
            guard block.node.kind == .ram || block.node.driver(zone) != nil else {
                throw .operationNotSupportedByDevice
            }
            guard zone.state(of: block.index) == .absent else { throw .fileExists }
            zone.add(block.index)
            events.note(.blockAdded(block.number))
        }
        events.announce(.blockAdded(block.number))
        let type = autoOnline.withLock { $0 }
        // Another thread may have been faster, and a device's memory is never in the ordinary zone.
        if type != .offline { try? online(block, as: type) }
    }

    /// See ``Machine/remove(_:isForced:account:isCancelled:)``.
    func remove(
        _ device: Device, isForced: Bool = false, account: MigrationAccount? = nil,
        isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let node = device.node
        if isForced, node.hasMemory { try evacuate(device, account, isCancelled: isCancelled) }
        try device.replace { () throws(Errno) in
            try node.zone.withLock { zone throws(Errno) in
                guard node.isPresent else { throw .operationNotSupportedByDevice }
                guard node.isReleased(zone) else { throw .resourceBusy }
                for block in zone.presentBlocks {
                    zone.vanish(block, table: node.frames)
                    events.note(.blockRemoved(nodes.number(ofBlock: block, of: node)))
                }
                node.reincarnate()
                device.changePresence()
                events.note(.nodeRemoved(node.id))
                events.note(.deviceRemoved(device.name))
            }
            device.queue.ring()
            events.announce(.deviceRemoved(device.name))
            // Pages that moved away when the node went offline. No more can come: there is nowhere to take one from.
            memory.discardAll(of: device.memory)
            memory.forgetContexts(of: device.mmu)
        }
    }

    /// Takes all memory of a device offline, or none (offline_and_remove_memory()).
    private func evacuate(
        _ device: Device, _ account: MigrationAccount?, isCancelled: () -> Bool
    ) throws(Errno) {
        let online = nodes.blockNumbers(of: device.node).compactMap { nodes.block($0) }.filter { $0.state == .online }
        do throws(Errno) {
            try offline(device, account: account, isCancelled: isCancelled)
        } catch {
            if device.state == .offlineFailed {
                try? change(device, through: .onlineInProgress, orElse: .onlineFailed) { () throws(Errno) in
                    for block in online where block.state == .offline { try self.online(block) }
                }
            }
            throw error
        }
    }

    /// See ``Machine/rescan()``.
    func rescan() throws(Errno) {
        var failure: Errno?
        for device in devices where !device.isPresent && device.linkState == .up {
            do throws(Errno) { try restore(device) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    private func restore(_ device: Device) throws(Errno) {
        let node = device.node
        guard let description = topology.node(node.id) else { return }
        var isRestored = false
        try device.replace { () throws(Errno) in
            node.zone.withLock { zone in
                guard !node.isPresent else { return }
                isRestored = true
                try? device.updateLink { $0 = description.link ?? Link() }
                // A device without a link was still there.
                if device.isSevered {
                    device.isSevered = false
                } else {
                    device.changePresence()
                    events.note(.deviceAdded(device.name))
                }
                node.resetCapabilities(description.capabilities)
                events.note(.nodeAdded(node.id))
                for block in 0..<node.span.base.count / nodes.framesPerBlock {
                    zone.add(block)
                    events.note(.blockAdded(nodes.number(ofBlock: block, of: node)))
                    // The driver has frames of it; for the rest of the machine it stays offline.
                    if !node.allows(.node) { zone.online(block, in: .movable) }
                }
                node.reincarnate()
            }
        }
        guard isRestored else { return }
        events.announce(.nodeAdded(node.id))
        let type = autoOnline.withLock { $0 }
        // The fastest thread decides.
        if type != .offline { try? online(device, as: type) }
    }
}
