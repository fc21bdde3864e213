import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

extension Machine {
    /// Adds the memory block at a physical address (probe_store() of drivers/base/memory.c). What becomes of it is
    /// ``autoOnline``; where that asks for a zone that it cannot have, it stays offline.
    ///
    /// The node is the one to whose range the address belongs: its own memory, or the window behind the memory of all
    /// nodes, where each has as much again, and at least eight blocks.
    ///
    /// - Parameter address: in bytes, a multiple of the block size.
    /// - Throws: EINVAL for an address within a block, or one that no node has a range at; EEXIST where a block is
    ///   already; ENODEV where the device is gone.
    public func probe(address: UInt64) throws(Errno) {
        guard address.isMultiple(of: topology.blockSize), let block = place(ofBlock: address / topology.blockSize)
        else { throw .invalidArgument }
        try block.node.zone.withLock { zone throws(Errno) in
            guard block.node.isPresent, block.node.incarnation == block.incarnation else {
                throw .operationNotSupportedByDevice
            }
            guard zone.state(of: block.index) == .absent else { throw .fileExists }
            zone.add(block.index)
            note(.blockAdded(block.number))
        }
        announce(.blockAdded(block.number))
        let type = autoOnline
        // Somebody may have been faster, and a device's memory is never in the ordinary zone.
        if type != .offline { try? online(block, as: type) }
    }

    /// Takes a device away, and with it its node, all its memory blocks and what its memory held.
    ///
    /// Blocks while the page cache gives up the pages; never call it from a thread that the page cache may wait for.
    ///
    /// - Parameter isForced: whether to take its memory offline first. Where that fails, what was online is so again.
    /// - Throws: EBUSY unless every block is offline, or where one cannot be taken offline; ENODEV when it is gone
    ///   already; EINTR when cancelled.
    public func remove(
        _ device: Device, isForced: Bool = false, account: MigrationAccount? = nil,
        isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let node = device.node
        if isForced, node.hasMemory { try evacuate(device, account, isCancelled: isCancelled) }
        try device.replace { () throws(Errno) in
            try node.zone.withLock { zone throws(Errno) in
                guard node.isPresent else { throw .operationNotSupportedByDevice }
                let blocks = zone.presentBlocks
                guard blocks.allSatisfy({ zone.state(of: $0) == .offline }) else { throw .resourceBusy }
                for block in blocks {
                    zone.remove(block, table: node.frames)
                    note(.blockRemoved(number(ofBlock: block, of: node)))
                }
                node.reincarnate()
                device.changePresence()
                note(.nodeRemoved(node.id))
                note(.deviceRemoved(device.name))
            }
            device.queue.ring()
            announce(.deviceRemoved(device.name))
            // Pages that moved away when the node went offline. No more can come: there is nowhere to take one from.
            invalidate(device.memory, pages: 0..<Page.count(of: device.memory.size))
            abandonBacking(of: device.memory)
            discard(device.memory, pages: 0..<UInt64.max >> Page.shift)
            forgetContexts(of: device)
        }
    }

    /// Takes all memory of a device offline, or none (offline_and_remove_memory()).
    private func evacuate(
        _ device: Device, _ account: MigrationAccount?, isCancelled: () -> Bool
    ) throws(Errno) {
        let online = blockNumbers(of: device.node).compactMap { block($0) }.filter { $0.state == .online }
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

    /// Brings every device that was removed, or whose link was cut and is up again, back, as new memory: the node, and the blocks that it began with, which
    /// become what ``autoOnline`` says. Rights and link are as the topology has them.
    ///
    /// - Throws: EBUSY where a device is just being removed; the others are back then.
    public func rescan() throws(Errno) {
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
                    note(.deviceAdded(device.name))
                }
                node.resetCapabilities(description.capabilities)
                note(.nodeAdded(node.id))
                for block in 0..<node.span.base.count / pagesPerBlock {
                    zone.add(block)
                    note(.blockAdded(number(ofBlock: block, of: node)))
                }
                node.reincarnate()
            }
        }
        guard isRestored else { return }
        announce(.nodeAdded(node.id))
        let type = autoOnline
        // Whoever is faster decides.
        if type != .offline { try? online(device, as: type) }
    }
}
