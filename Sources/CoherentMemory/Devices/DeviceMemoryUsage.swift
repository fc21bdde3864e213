import LinuxSupport
import MachineTopology

/// The size of a device's memory and how much of it is allocated, in pages.
///
/// Unlike ``NodeUsage`` it is also valid under `Isolation.driver`, where no node has the memory.
public struct DeviceMemoryUsage: Sendable, Hashable {
    /// Pages of blocks that are not offline, or that the driver has.
    public var present: Int
    /// Pages that are free, including those of the contiguous share.
    public var free: Int
    /// The pages of the largest free block, aligned to its size; 0 for none.
    public var largestFree: Int
    /// Pages that are not free.
    public var used: Int { present - free }
}

extension Device {
    /// The use of the device's memory; all 0 while the device is gone.
    public var memoryUsage: DeviceMemoryUsage {
        node.zone.withLock { zone in
            guard node.isPresent else { return DeviceMemoryUsage(present: 0, free: 0, largestFree: 0) }
            let order = zone.freeBlocks.lastIndex { $0 > 0 }
            return DeviceMemoryUsage(present: zone.present, free: zone.free, largestFree: order.map { 1 << $0 } ?? 0)
        }
    }
}
