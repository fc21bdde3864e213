import LinuxSupport
import MachineTopology
import SystemPackage

extension Hotplug {
    /// See ``Machine/unbind(_:from:)``.
    func unbind(_ device: Device, from driver: MemoryDriver) throws(Errno) {
        let node = device.node
        try device.replace { () throws(Errno) in
            try node.zone.withLock { zone throws(Errno) in
                guard node.isPresent, node.driver(zone) == driver else { throw .operationNotSupportedByDevice }
                guard node.isReleased(zone) else { throw .resourceBusy }
                events.note(.unbound(device: device.name, driver))
                for block in zone.presentBlocks {
                    zone.vanish(block, table: node.frames)
                    events.note(.blockRemoved(nodes.number(ofBlock: block, of: node)))
                }
                if driver == .kmem { setCapabilities([], of: node) }
            }
            if driver == .kmem { capabilitiesChanged(of: node) }
        }
        events.announce(.unbound(device: device.name, driver))
    }

    /// See ``Machine/bind(_:to:)``.
    func bind(_ device: Device, to driver: MemoryDriver) throws(Errno) {
        let node = device.node
        try device.replace { () throws(Errno) in
            try node.zone.withLock { zone throws(Errno) in
                guard node.isPresent else { throw .operationNotSupportedByDevice }
                guard node.driver(zone) == nil else { throw .resourceBusy }
                let blocks = 0..<node.span.base.count / nodes.framesPerBlock
                guard !blocks.isEmpty else { throw .noSuchAddressOrDevice }
                if driver == .kmem { setCapabilities(node.memoryCapabilities, of: node) }
                for block in blocks {
                    zone.add(block)
                    events.note(.blockAdded(nodes.number(ofBlock: block, of: node)))
                    if driver == .deviceDAX { zone.online(block, in: .movable) }
                }
                events.note(.bound(device: device.name, driver))
            }
            if driver == .kmem { capabilitiesChanged(of: node) }
        }
        events.announce(.bound(device: device.name, driver))
        let type = autoOnline.withLock { $0 }
        // The fastest thread decides.
        if driver == .kmem, type != .offline { try? online(device, as: type) }
    }

    private func setCapabilities(_ capabilities: NodeCapabilities, of node: Node) {
        node.resetCapabilities(capabilities)
        events.note(.capabilities(node: node.id, capabilities))
    }

    private func capabilitiesChanged(of node: Node) {
        let tasks = memory.placer.tasks
        tasks.nodesChanged(in: nodes)
        if node.allows(.anyTask) { tasks.changed() } else { tasks.activate() }
    }
}
