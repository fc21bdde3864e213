import LinuxSupport
import SystemPackage

extension Machine {
    /// The numbers of the present memory blocks, ascending.
    public var blockNumbers: [UInt64] { nodes.flatMap { nodeMap.blockNumbers(of: $0) }.sorted() }

    /// The block `memoryM`, or nil if there is none.
    public func block(_ number: UInt64) -> MemoryBlock? { nodeMap.block(number) }

    /// The numbers of a node's present blocks, ascending.
    public func blockNumbers(of node: Node) -> [UInt64] { nodeMap.blockNumbers(of: node) }

    /// Whether a node has any block, online or not.
    public func hasBlocks(_ node: Node) -> Bool { node.isPresent && node.zone.withLock { $0.blocks } > 0 }

    /// Brings an offline block online (online_pages()).
    ///
    /// - Parameters:
    ///   - block: the memory block.
    ///   - type: the zone; memory of a device never enters the ordinary one.
    /// - Throws: EINVAL if it is online already or cannot have the zone, EBUSY while it is going offline, ENODEV if it
    ///   is gone, EPERM while the memory belongs to the driver, EHWPOISON if frames of it have failed.
    public func online(_ block: MemoryBlock, as type: OnlineType = .online) throws(Errno) {
        try hotplug.online(block, as: type)
    }

    /// Takes a block offline after all its pages have moved away: to the same node, then to ordinary nodes by distance
    /// (offline_pages()). Contiguous buffers move to another run of the share, or to that of another node.
    ///
    /// Blocks until then; never call it from a thread that the page cache may wait for. All or nothing: on an error the
    /// block is online with all its data, though some of its pages may have moved.
    ///
    /// - Parameters:
    ///   - block: the memory block.
    ///   - account: the account of the moved pages.
    ///   - isCancelled: checked repeatedly.
    /// - Throws: EINVAL if it is offline already, EBUSY if it is going offline or a page cannot or may not move, EINTR
    ///   when cancelled, ENODEV if it is gone.
    public func offline(
        _ block: MemoryBlock, account: MigrationAccount? = nil, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try hotplug.offline(block, account: account, isCancelled: isCancelled)
    }

    /// Brings every block of a device online.
    ///
    /// - Throws: EBUSY while another transition is in progress or a block is going offline, ENODEV if the device is
    ///   gone.
    public func online(_ device: Device) throws(Errno) { try hotplug.online(device, as: .online) }

    /// Takes every block of a device offline, the last one first. Blocks until its pages have moved away.
    ///
    /// - Throws: EBUSY while another transition is in progress or if a page cannot move, EINTR when cancelled, ENODEV
    ///   if the device is gone; blocks that are offline by then stay offline.
    public func offline(
        _ device: Device, account: MigrationAccount? = nil, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try hotplug.offline(device, account: account, isCancelled: isCancelled)
    }

    /// Adds the memory block at a physical address (probe_store() of drivers/base/memory.c), in the state of
    /// ``autoOnline``. If that is a zone that the block cannot have, it stays offline.
    ///
    /// The address determines the node: it is in the node's own memory, or in its window behind the memory of all
    /// nodes, where each node has as much again, and at least eight blocks.
    ///
    /// - Parameter address: in bytes, a multiple of the block size.
    /// - Throws: EINVAL for an address within a block, or outside the ranges of all nodes; EEXIST if the block exists
    ///   already; ENODEV if the device is gone.
    public func probe(address: UInt64) throws(Errno) { try hotplug.probe(address: address) }

    /// Removes a device with its node, all its memory blocks and their contents.
    ///
    /// Blocks while the page cache releases the pages; never call it from a thread that the page cache may wait for.
    ///
    /// - Parameters:
    ///   - device: the device.
    ///   - isForced: whether to take its memory offline first. If that fails, the blocks that were online are online
    ///     again.
    ///   - account: what the moved pages are added to.
    ///   - isCancelled: checked repeatedly.
    /// - Throws: EBUSY unless every block is offline, or if one cannot be taken offline; ENODEV if it is gone already;
    ///   EINTR when cancelled.
    public func remove(
        _ device: Device, isForced: Bool = false, account: MigrationAccount? = nil,
        isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try hotplug.remove(device, isForced: isForced, account: account, isCancelled: isCancelled)
    }

    /// Adds every device that was removed, or whose link was cut and is up again, with new memory: the node, and its
    /// initial blocks in the state of ``autoOnline``. Rights and link are those of the topology.
    ///
    /// - Throws: EBUSY if a device is being removed; the others are added then.
    public func rescan() throws(Errno) { try hotplug.rescan() }

    /// The state of hot-added memory blocks; `offline` until it is set (mhp_default_online_type).
    public var autoOnline: OnlineType {
        get { hotplug.autoOnline.withLock { $0 } }
        set {
            hotplug.autoOnline.withLock { $0 = newValue }
            trace.note(.autoOnline, UInt64(OnlineType.allCases.firstIndex(of: newValue) ?? 0))
        }
    }
}
