import LinuxSupport
import MachineTopology

/// The drivers that the memory of a device can have (drivers/dax).
public enum MemoryDriver: String, Sendable, Hashable, CaseIterable {
    /// Only the device file hands the memory out; it belongs to no NUMA node (isolation `driver`).
    case deviceDAX = "device_dax"
    /// The memory is system RAM of the node: memory blocks, online or offline.
    case kmem
}

extension Device {
    /// The driver of the memory; nil while it has none, and the memory is out of use.
    public var driver: MemoryDriver? { node.zone.withLock { node.driver($0) } }
}

extension Node {
    /// The driver that has the memory of a device. The caller holds the zone's lock.
    func driver(_ zone: borrowing Zone) -> MemoryDriver? {
        if allows(.node) { return .kmem }
        // For the driver, which keeps them all, blocks are there as long as it is.
        return zone.blocks > 0 ? .deviceDAX : nil
    }
}
