import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// The use of a node's memory, in pages.
public struct NodeUsage: Sendable, Hashable {
    /// Pages of blocks that are online, or going offline (MemTotal).
    public var present: Int
    /// Pages that are free (MemFree). As in Linux, they include those of the contiguous share.
    public var free: Int
    /// Pages of buffers, device files and programs' own memory, without those of reserved huge pages.
    public var allocated: Int
    /// Those of programs' own memory (AnonPages); the others are FilePages.
    public var anonymous: Int
    /// Allocated pages that the scanner found in use repeatedly (Active); the others are inactive.
    public var active: Int
    /// Those of programs' own memory among them (Active(anon)).
    public var activeAnonymous: Int
    /// Pages that are in the kernel's page cache and may be mapped (Mapped).
    public var cached: Int
    /// Pages that were stored to (Dirty).
    public var written: Int
    /// Huge pages of buffers, without reserved ones (ShmemHugePages, in huge pages).
    public var huge: Int
    /// Reserved huge pages.
    public var hugePool: HugePoolUsage
    /// The share for contiguous buffers.
    public var contiguous: ContiguousUsage
    /// Pages that are poisoned and not cleared (HardwareCorrupted of /proc/meminfo).
    public var poisoned: Int
    /// Free blocks of each order from 0 to 18 (a line of /proc/buddyinfo).
    public var freeBlocks: [Int]
}

/// A node of the simulated machine: CPUs, memory, or both (struct pglist_data).
public final class Node: Sendable {
    /// The number in `nodeN`.
    public let id: Int
    /// Whether the memory is ordinary or a device's.
    public let kind: NodeDescription.Kind
    /// The CPUs of the node; empty for a memory-only node.
    public let cpus: IDSet
    /// The performance of the device's own access to the memory, if the device is an initiator like a CPU (a generic
    /// initiator); nil otherwise.
    public let initiator: Link?
    /// The distances to every node, in ascending order of their ids; 10 to itself.
    public let distances: [Int]

    /// The node of the host that provides the memory, as far as it can; nil if the host chooses.
    public let hostNode: Int?
    /// The name of the device whose memory it is; nil for an ordinary node.
    let deviceName: String?
    let hostPages = HostPages()
    /// The link of a coherent node.
    let link: LinkMeter?

    /// The node's place among the machine's nodes.
    let index: Int
    let span: NodeSpan
    let frames: FrameTable
    let zone: Mutex<Zone>
    let counters = NodeCounters()
    /// Every node of the machine, this one first, then by distance (the node's zonelist).
    let fallback: FlatMemory<Int32>
    private let capabilityWord: Atomic<UInt32>
    private let memoryCapabilityWord: Atomic<UInt32>
    private let weight = Atomic<UInt8>(0)
    let migrations = Mutex(Migrations())
    /// Held while the pool of huge pages is resized.
    let poolTurn = Mutex<Void>(())
    /// Set while a thread reclaims memory of the node.
    let isReclaiming = Atomic(false)
    /// The frames, in units of 512, at which the scanner goes on (the hand of the clock). Its user has ``isReclaiming``.
    let hand = Atomic(0)
    /// Set from the moment that free memory is short until kswapd looks at it.
    let wantsKswapd = Atomic(false)
    /// Set when pages that were to be promoted found no room.
    let lacksRoom = Atomic(false)
    let kswapd: WakeUp

    init(
        _ description: NodeDescription, index: Int, topology: Topology, span: NodeSpan, kswapd: WakeUp
    ) throws(Errno) {
        id = description.id
        kind = description.kind
        cpus = description.cpus
        initiator = description.initiator
        deviceName = description.device
        link = description.kind == .coherent ? LinkMeter(description.link ?? Link()) : nil
        self.index = index
        self.span = span
        self.kswapd = kswapd
        let distances = topology.nodes.map { topology.distance(from: description.id, to: $0.id) }
        self.distances = distances
        hostNode = description.hostNode
        frames = try FrameTable(frameCount: span.count)
        var zone = try Zone(
            frameCount: span.count, framesPerBlock: Int(topology.blockSize >> Page.shift),
            share: ContiguousShare(bytes: description.contiguous, end: span.base.count))
        for block in 0..<span.base.count / zone.framesPerBlock {
            zone.add(block)
            if description.isOnline { zone.online(block, in: description.kind == .coherent ? .movable : .normal) }
        }
        self.zone = Mutex(zone)
        let capabilities = description.capabilities
        capabilityWord = Atomic(capabilities.rawValue)
        memoryCapabilityWord = Atomic(
            (capabilities.contains(.node) ? capabilities : Isolation.none.capabilities).rawValue)

        // Ties go to the node with the nearer number, counting upwards from this one, as find_next_best_node() does.
        let order = distances.indices.sorted { a, b in
            func rank(_ other: Int) -> (Int, Int) {
                other == index ? (0, 0) : (distances[other], (other - index + distances.count) % distances.count)
            }
            return rank(a) < rank(b)
        }
        fallback = try FlatMemory(count: order.count)
        for (place, node) in order.enumerated() { fallback[place] = Int32(node) }
    }

    /// What the system may do with the memory. A node of RAM has all capabilities.
    public var capabilities: NodeCapabilities { NodeCapabilities(rawValue: capabilityWord.load(ordering: .relaxed)) }

    /// Whether the system may do something with the memory (node_allows_reclaim() and the like).
    func allows(_ capability: NodeCapabilities) -> Bool { capabilities.contains(capability) }

    /// Changes the rights; false where they were so already.
    ///
    /// - Parameters:
    ///   - change: computes the new rights of the old ones. Called under the node's lock, as `body` is.
    ///   - body: gets the old rights and the new ones.
    /// - Throws: EINVAL for rights that lack what they need, EBUSY where the memory would pass to or from the driver while
    ///   some of it is in use or going offline, ENODEV when the node is gone.
    func updateCapabilities(
        _ change: (inout NodeCapabilities) -> Void,
        _ body: (borrowing Zone, _ old: NodeCapabilities, _ new: NodeCapabilities) -> Void
    ) throws(Errno) -> Bool {
        try zone.withLock { zone throws(Errno) in
            guard isPresent else { throw .operationNotSupportedByDevice }
            let old = capabilities
            var new = old
            change(&new)
            guard new.isConsistent else { throw .invalidArgument }
            guard old != new else { return false }
            if old.contains(.node) != new.contains(.node) {
                // Memory that no driver has cannot pass to the node by a change of rights.
                guard zone.blocks > 0 || span.base.isEmpty else { throw .operationNotSupportedByDevice }
                guard isUnused(zone) else { throw .resourceBusy }
            }
            resetCapabilities(new)
            body(zone, old, new)
            return true
        }
    }

    /// The rights of a node that comes back, empty. The caller holds the zone's lock.
    func resetCapabilities(_ capabilities: NodeCapabilities) {
        capabilityWord.store(capabilities.rawValue, ordering: .relaxed)
        if capabilities.contains(.node) { memoryCapabilityWord.store(capabilities.rawValue, ordering: .relaxed) }
    }

    /// Whether no frame is in use or on its way. The caller holds the zone's lock.
    private func isUnused(_ zone: borrowing Zone) -> Bool {
        zone.allocated == 0 && zone.isolated == 0 && zone.pool.usage.total == 0
    }

    /// Whether the memory can be taken away: every block is offline, or the driver that has it uses none of it. The caller
    /// holds the zone's lock.
    func isReleased(_ zone: borrowing Zone) -> Bool {
        allows(.node) ? zone.presentBlocks.allSatisfy { zone.state(of: $0) == .offline } : isUnused(zone)
    }

    /// The rights that the node had last while the memory was its own; before that, those of an ordinary node.
    var memoryCapabilities: NodeCapabilities {
        NodeCapabilities(rawValue: memoryCapabilityWord.load(ordering: .relaxed))
    }

    /// Consecutive pages under weighted interleaving, 1 to 255 (iw_table of mm/mempolicy.c).
    public var interleaveWeight: Int { max(1, Int(weight.load(ordering: .relaxed))) }

    func setInterleaveWeight(_ newWeight: UInt8) { weight.store(newWeight, ordering: .relaxed) }

    private let incarnationWord = Atomic<UInt32>(0)

    /// A counter of removals and additions of the node since the machine was made; odd while it is removed.
    public var incarnation: UInt32 { incarnationWord.load(ordering: .acquiring) }

    /// Whether the node is present. Only a device's node can be removed (node_online()).
    public var isPresent: Bool { incarnation & 1 == 0 }

    /// The first incarnation that was not lost, nor any later one.
    private let lossWord = Atomic<UInt32>(0)

    /// Whether the memory of an incarnation was lost with the link of its device; of one that was removed before, whether that of a later
    /// one was.
    public func isLost(_ incarnation: UInt32) -> Bool { incarnation < lossWord.load(ordering: .acquiring) }

    /// The node goes, or comes back. The caller holds the zone's lock.
    ///
    /// - Parameter isLoss: whether it goes with what its memory holds.
    func reincarnate(isLoss: Bool = false) {
        if isLoss { lossWord.store(incarnation + 1, ordering: .releasing) }
        incarnationWord.wrappingAdd(1, ordering: .acquiringAndReleasing)
    }

    /// The use of the node's memory.
    public var usage: NodeUsage {
        let (cached, written) = (counters.cached.load(ordering: .relaxed), counters.written.load(ordering: .relaxed))
        let huge = counters.huge.load(ordering: .relaxed)
        let activeAnonymous = counters.activeAnonymous.load(ordering: .relaxed)
        let active = counters.active.load(ordering: .relaxed) + activeAnonymous
        let anonymous = counters.anonymous.load(ordering: .relaxed)
        return zone.withLock { zone in
            // What the driver has is not counted as memory.
            guard allows(.node), isPresent else {
                return NodeUsage(
                    present: 0, free: 0, allocated: 0, anonymous: 0, active: 0, activeAnonymous: 0, cached: 0,
                    written: 0,
                    huge: 0,
                    hugePool: HugePoolUsage(), contiguous: ContiguousUsage(),
                    poisoned: zone.failed.poisoned,
                    freeBlocks: Array(repeating: 0, count: BuddyAllocator.maximumOrder + 1))
            }
            let inUse = zone.allocated + zone.pool.usage.used * HugePage.frames
            return NodeUsage(
                present: zone.present, free: zone.free, allocated: zone.allocated,
                anonymous: max(0, min(anonymous, zone.allocated)),
                active: max(0, min(active, zone.allocated)),
                activeAnonymous: max(0, min(activeAnonymous, anonymous, zone.allocated)),
                cached: max(0, min(cached, inUse)), written: max(0, min(written, inUse)), huge: max(0, huge),
                hugePool: zone.pool.usage, contiguous: zone.share.usage, poisoned: zone.failed.poisoned,
                freeBlocks: zone.freeBlocks)
        }
    }

    /// The result of the migration of all the node's pages that was started last, or its progress.
    public var migration: MigrationResult { migrations.withLock { $0 }.result }

    /// The node's allocation counters.
    public var statistics: NodeStatistics { counters.statistics }

    /// The counters of the node's memory failures.
    public var memoryFailures: MemoryFailureStatistics { counters.memoryFailures.withLock { $0 } }

    /// Whether any memory block of the node is online (a member of `has_memory`, or of `has_private_memory`).
    public var hasMemory: Bool { isPresent && zone.withLock { $0.present } > 0 && allows(.node) }

    /// Whether any of it is in zone Normal (a member of `has_normal_memory`).
    public var hasNormalMemory: Bool { isPresent && zone.withLock { $0.normalBlocks } > 0 && allows(.node) }

    /// Whether free frames are in blocks that go offline.
    var keepsFramesBack: Bool { isPresent && zone.withLock { $0.isolated } > 0 }

    var hasFreeFrames: Bool { isPresent && zone.withLock { $0.allocator.freeCount } > 0 }

    /// Takes up to `count` frames that follow each other; nil when the node has none.
    ///
    /// - Parameter isDevice: whether they are for the device's own memory, which a driver may keep to itself.
    func allocateRun(upTo count: Int, isDevice: Bool = false) -> FrameRun? {
        var first: FrameRun?
        _ = allocateRuns(upTo: count, atMost: 1, isDevice: isDevice) { first = $0 }
        return first
    }

    /// Takes up to `count` frames, in as many runs as that needs, under one hold of the zone's lock (alloc_pages_bulk()).
    ///
    /// - Parameter body: gets each run; must take no lock.
    /// - Returns: how many it took.
    func allocateRuns(
        upTo count: Int, atMost runs: Int = .max, isDevice: Bool, _ body: (FrameRun) -> Void
    ) -> Int {
        zone.withLock { zone in
            // Asked under the lock: nothing may slip in while the memory passes to the driver.
            guard isPresent, isDevice || allows(.node) else { return 0 }
            var (left, runs) = (count, runs)
            while left > 0, runs > 0, let run = zone.allocator.allocateRun(upTo: left) {
                zone.allocated += run.count
                frames.setOwner(of: run, to: FrameTable.unmapped)
                body(FrameRun(start: span.pfn(at: run.lowerBound), count: run.count))
                left -= run.count
                runs -= 1
            }
            if left < count { wakeKswapd(zone) }
            return count - left
        }
    }

    /// Takes a run of the contiguous share. ENOMEM where there is none so long, EPERM while the memory is
    /// the driver's.
    func allocateContiguous(_ count: Int) throws(Errno) -> FrameRun {
        try zone.withLock { zone throws(Errno) -> FrameRun in
            guard allows(.node) else { throw .notPermitted }
            guard isPresent else { throw .operationNotSupportedByDevice }
            guard let run = zone.takeContiguous(count) else { throw .noMemory }
            frames.setOwner(of: run, to: FrameTable.unmapped)
            return FrameRun(start: span.pfn(at: run.lowerBound), count: run.count)
        }
    }

    /// Gives frames back. No page table may name them any more.
    func release(_ run: FrameRun) {
        let first = index(of: run.start)
        zone.withLock { $0.release(first..<first + run.count, table: frames) }
    }

    /// The index of a frame of this node within the node.
    func index(of pfn: PFN) -> Int { span.index(of: pfn) }
}
