import LinuxSupport
import SystemPackage

extension Machine {
    /// The numbers of the memory blocks there are, ascending.
    public var blockNumbers: [UInt64] { nodes.flatMap { nodeMap.blockNumbers(of: $0) }.sorted() }

    /// The block `memoryM`, if there is one.
    public func block(_ number: UInt64) -> MemoryBlock? { nodeMap.block(number) }

    /// The numbers of a node's blocks that are there, ascending.
    public func blockNumbers(of node: Node) -> [UInt64] { nodeMap.blockNumbers(of: node) }

    /// Whether a node has any block, online or not.
    public func hasBlocks(_ node: Node) -> Bool { node.isPresent && node.zone.withLock { $0.blocks } > 0 }

    /// Makes an offline block's memory available (online_pages()).
    ///
    /// - Parameter type: into which zone; memory of a device is never in the ordinary one.
    /// - Throws: EINVAL when it is online already or cannot get the zone, EBUSY while it is going offline, ENODEV when
    ///   it is gone, EPERM while the memory is the driver's, EHWPOISON where frames of it failed.
    public func online(_ block: MemoryBlock, as type: OnlineType = .online) throws(Errno) {
        try hotplug.online(block, as: type)
    }

    /// Takes a block offline once all its pages have moved away: to the same node, then to ordinary nodes by
    /// distance (offline_pages()). Contiguous buffers move to another run of the share, or to that of another node.
    ///
    /// Blocks until then; never call it from a thread that the page cache may wait for. All or nothing: on an error
    /// the block is online with all its data, though some of its pages may have moved.
    ///
    /// - Parameter account: what moves is added to.
    /// - Throws: EINVAL when it is offline already, EBUSY when it is going offline or a page cannot be moved or may not be,
    ///   EINTR when cancelled, ENODEV when it is gone.
    public func offline(
        _ block: MemoryBlock, account: MigrationAccount? = nil, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try hotplug.offline(block, account: account, isCancelled: isCancelled)
    }

    /// Brings every block of a device online.
    ///
    /// - Throws: EBUSY while another transition is under way or a block is going offline, ENODEV when the device is gone.
    public func online(_ device: Device) throws(Errno) { try hotplug.online(device, as: .online) }

    /// Takes every block of a device offline, the last one first. Blocks until its pages have moved away.
    ///
    /// - Throws: EBUSY while another transition is under way or where a page cannot be moved, EINTR when cancelled,
    ///   ENODEV when the device is gone; blocks that are offline by then stay so.
    public func offline(
        _ device: Device, account: MigrationAccount? = nil, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try hotplug.offline(device, account: account, isCancelled: isCancelled)
    }

    /// Adds the memory block at a physical address (probe_store() of drivers/base/memory.c). What becomes of it is
    /// ``autoOnline``; where that asks for a zone that it cannot have, it stays offline.
    ///
    /// The node is the one to whose range the address belongs: its own memory, or the window behind the memory of all
    /// nodes, where each has as much again, and at least eight blocks.
    ///
    /// - Parameter address: in bytes, a multiple of the block size.
    /// - Throws: EINVAL for an address within a block, or one that no node has a range at; EEXIST where a block is
    ///   already; ENODEV where the device is gone.
    public func probe(address: UInt64) throws(Errno) { try hotplug.probe(address: address) }

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
        try hotplug.remove(device, isForced: isForced, account: account, isCancelled: isCancelled)
    }

    /// Brings every device that was removed, or whose link was cut and is up again, back, as new memory: the node, and the blocks that it began with, which
    /// become what ``autoOnline`` says. Rights and link are as the topology has them.
    ///
    /// - Throws: EBUSY where a device is just being removed; the others are back then.
    public func rescan() throws(Errno) { try hotplug.rescan() }

    /// What becomes of hot-added memory blocks; `offline` until it is set (mhp_default_online_type).
    public var autoOnline: OnlineType {
        get { hotplug.autoOnline.withLock { $0 } }
        set { hotplug.autoOnline.withLock { $0 = newValue } }
    }
}
