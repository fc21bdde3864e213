import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

extension Machine {
    /// Adds the memory block at a physical address (probe_store() of drivers/base/memory.c), in the state of
    /// ``autoOnline``. If that is a zone that the block cannot have, it stays offline.
    ///
    /// The address determines the node: it is in the node's own memory, or in its window behind the memory of all
    /// nodes, where each node has as much again, and at least eight blocks.
    ///
    /// - Parameter address: in bytes, a multiple of the block size.
    /// - Throws: EINVAL for an address within a block, or outside the ranges of all nodes; EEXIST if the block exists
    ///   already; ENODEV if the device is gone.
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

    /// Removes a device with its node, all its memory blocks and their contents.
    ///
    /// Blocks while the page cache releases the pages; never call it from a thread that the page cache may wait for.
    ///
    /// - Parameter isForced: whether to take its memory offline first. If that fails, the blocks that were online are
    ///   online again.
    /// - Throws: EBUSY unless every block is offline, or if one cannot be taken offline; ENODEV if it is gone already;
    ///   EINTR when cancelled.
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

    /// Adds every device that was removed, or whose link was cut and is up again, with new memory: the node, and its
    /// initial blocks in the state of ``autoOnline``. Rights and link are those of the topology.
    ///
    /// - Throws: EBUSY if a device is being removed; the others are added then.
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
