import Glibc
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// A change that the machine reports to its observer.
public enum MachineEvent: Sendable, Hashable {
    /// A memory block changed its state.
    case block(UInt64, MemoryBlockState)
    /// A device's state word changed.
    case device(name: String, state: DeviceState)
    /// The capabilities of a node's memory have changed to these.
    case capabilities(node: Int, NodeCapabilities)
    /// A migration of pages of a buffer began or ended.
    case migration(buffer: UInt64)
    /// A migration of a whole node began or ended.
    case nodeMigration(node: Int)
    /// A memory block was added or removed.
    case blockAdded(UInt64)
    case blockRemoved(UInt64)
    /// A node was added or removed.
    case nodeAdded(Int)
    case nodeRemoved(Int)
    /// A device was added or removed.
    case deviceAdded(String)
    case deviceRemoved(String)
    /// The link of a device went down, and its node with it, or came up again.
    case link(name: String, LinkState)
    /// The link of a device had errors, and recovered.
    case linkErrors(name: String, count: UInt64)
    /// A device has completed a command of its queue, or the command has failed.
    case commandCompleted(device: String)
    /// A page failed, or is in service again.
    case pageFailed(PageFailure)
}

/// The interface to the kernel's page cache, which is between the machine and the programs that map its memory.
public protocol MappingInvalidator: Sendable {
    /// Unmaps pages of a buffer from every process and writes back dirty pages, before it returns
    /// (invalidate_inode_pages2_range()). Called from a thread that no request waits for, with no lock held.
    func invalidate(_ buffer: Buffer, pages: Range<UInt64>)

    /// Writes back dirty pages of a buffer, if that makes ``invalidate(_:pages:)`` faster (filemap_fdatawrite_range()).
    /// Called before it, and never replaces it.
    ///
    /// - Parameter next: pages whose write-back may start; the caller requests them again later.
    func writeBack(_ buffer: Buffer, pages: Range<UInt64>, next: Range<UInt64>)
}

extension MappingInvalidator {
    /// Does nothing: the invalidation writes back.
    public func writeBack(_ buffer: Buffer, pages: Range<UInt64>, next: Range<UInt64>) {}
}

/// The simulated machine: nodes of memory, coherent devices, and buffers.
///
/// All operations may be called from any thread. Locks are taken in this order: turn of the failures, migration turn of
/// a buffer, unmap turn of a buffer, buffer (of two the older one first), command queue, node, table pool. None is held
/// across a call to the ``MappingInvalidator`` or the observer, except the turns: devices also wait for the unmap turn,
/// only migrations and failures wait for the others.
public final class Machine: Sendable {
    /// The topology from which the machine was made.
    public let topology: Topology
    /// The nodes in ascending order of their ids.
    public let nodes: [Node]
    /// The coherent devices in ascending order of their nodes.
    public let devices: [Device]

    /// Whether any node names one of the host.
    let hasHostNodes: Bool
    let tables: TablePool
    let tasks = TaskTable()
    let system: SystemState
    /// What stands for pages that were never stored to. Filled once: the kernel copies from pages of our own faster than
    /// from its shared zero page.
    let zeros: FlatMemory<UInt8>

    /// Zeroed memory with the lifetime of the machine. Reads use it for pages that were never stored to.
    public var zeroPages: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: zeros.base, count: Self.maximumRead)
    }

    private let starts: FlatMemory<PFN>
    private let windowStarts: FlatMemory<PFN>
    /// Where the nodes' own memory ends and that which may be added begins.
    private let windowsPFN: PFN
    private let indices: [Int: Int]

    /// A machine with all its memory free.
    ///
    /// - Throws: ENOMEM and similar errors if the host refuses address space.
    public init(topology: Topology) throws(Errno) {
        self.topology = topology
        hasHostNodes = topology.nodes.contains { $0.hostNode != nil }
        let system = SystemState()
        var nodes: [Node] = []
        var start: PFN = 0
        var window = topology.nodes.reduce(0) { $0 + $1.memory >> Page.shift }
        windowsPFN = window
        starts = try FlatMemory(count: topology.nodes.count)
        windowStarts = try FlatMemory(count: topology.nodes.count)
        for (index, description) in topology.nodes.enumerated() {
            starts[index] = start
            windowStarts[index] = window
            let end = start + description.memory >> Page.shift
            let windowEnd =
                window + NodeSpan.windowFrames(memory: description.memory, blockSize: topology.blockSize)
            let span = NodeSpan(
                base: start..<end, window: window..<windowEnd, framesPerBlock: Int(topology.blockSize >> Page.shift))
            nodes.append(
                try Node(description, index: index, topology: topology, span: span, kswapd: system.pressure.kswapd))
            (start, window) = (end, windowEnd)
        }
        self.nodes = nodes
        self.system = system
        indices = Dictionary(uniqueKeysWithValues: nodes.map { ($0.id, $0.index) })
        tables = try TablePool()
        zeros = try FlatMemory(count: Self.maximumRead)
        unsafe memset(zeros.base, 0, Self.maximumRead)
        var devices: [Device] = []
        for (node, description) in zip(nodes, topology.nodes) {
            guard let name = description.device else { continue }
            let memory = system.makeBuffer(
                tables: tables, policy: .bind(node.id),
                effective: EffectivePolicy(mode: .bind, nodes: NodeMask([node.index])), fixedSize: description.memory)
            devices.append(Device(name: name, node: node, memory: memory, link: description.link ?? Link()))
        }
        self.devices = devices
        updateWatermarks()
        if nodes.contains(where: { !$0.allows(.anyTask) }) { tasks.activate() }
    }

    deinit {
        // The frames go with the nodes, and the tables with their pool.
        for buffer in buffers {
            buffer.state.withLock { state in
                state.table.abandon()
                for context in state.contexts { context.table.abandon() }
                // A device that maps pages of its own memory would keep that, which keeps the tables, and be kept by it.
                state.contexts = []
            }
        }
    }

    /// The node `nodeN`, or nil if there is none.
    public func node(_ id: Int) -> Node? { indices[id].map { nodes[$0] } }

    /// The ids of the nodes that have memory online and that policies may name (N_MEMORY, and the nodes of N_MEMORY_PRIVATE
    /// with NODE_PRIVATE_CAP_MEMPOLICY).
    public var nodesWithMemory: IDSet { nodesWithMemory(.mempolicy) }

    /// The ids of the nodes that have memory online and a right.
    func nodesWithMemory(_ capability: NodeCapabilities) -> IDSet {
        IDSet(nodes.lazy.filter { $0.allows(capability) && $0.hasMemory }.map(\.id))
    }

    /// The ids of the nodes that no cpuset grants or denies.
    var ungovernedNodes: IDSet {
        IDSet(nodes.lazy.filter { $0.allows(.node) && !$0.allows(.cpuset) }.map(\.id))
    }

    /// Pages per memory block.
    public var pagesPerBlock: Int { Int(topology.blockSize >> Page.shift) }

    /// The place of the node that a frame belongs to.
    func nodeIndex(of pfn: PFN) -> Int {
        pfn < windowsPFN ? Self.place(of: pfn, in: starts) : Self.place(of: pfn, in: windowStarts)
    }

    /// The last of some ascending starts that is not behind a frame.
    private static func place(of pfn: PFN, in starts: borrowing FlatMemory<PFN>) -> Int {
        var low = 0
        var high = starts.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if starts[middle] <= pfn { low = middle } else { high = middle - 1 }
        }
        return low
    }

    func node(of pfn: PFN) -> Node { nodes[nodeIndex(of: pfn)] }

    /// Sets the invalidator that unmaps pages. Without one, nothing is mapped.
    public func setInvalidator(_ invalidator: any MappingInvalidator) {
        system.hooks.withLock { $0.invalidator = invalidator }
    }

    /// Sets the observer of changes. It is called without locks, on the thread that made the change.
    public func setObserver(_ observer: @escaping @Sendable (MachineEvent) -> Void) {
        system.hooks.withLock { $0.observer = observer }
    }

    /// Sets the recorder of changes, which is called in the order in which they happen. A lock of the machine is held,
    /// so it may only record them.
    public func setRecorder(_ recorder: @escaping @Sendable (MachineEvent) -> Void) {
        system.hooks.withLock { $0.recorder = recorder }
    }

    func note(_ event: MachineEvent) { system.hooks.withLock { $0.recorder }?(event) }

    /// The state of hot-added memory blocks; `offline` until it is set (mhp_default_online_type).
    public var autoOnline: OnlineType {
        get { system.autoOnline.withLock { $0 } }
        set { system.autoOnline.withLock { $0 = newValue } }
    }

    func announce(_ event: MachineEvent) {
        switch event {
        case .block, .capabilities, .nodeAdded, .nodeRemoved, .link: updateWatermarks()
        default: break
        }
        system.hooks.withLock { $0.observer }?(event)
    }

    func invalidate(_ buffer: Buffer, pages: Range<UInt64>) {
        system.hooks.withLock { $0.invalidator }?.invalidate(buffer, pages: pages)
    }

    func writeBack(_ buffer: Buffer, pages: Range<UInt64>, next: Range<UInt64>) {
        system.hooks.withLock { $0.invalidator }?.writeBack(buffer, pages: pages, next: next)
    }

    // MARK: Buffers

    /// A new, empty buffer with the default policy.
    ///
    /// - Parameter huge: whether its pages are huge; nil if nothing was chosen: then they are not huge while it is
    ///   tracked.
    public func makeBuffer(huge: HugeMode? = nil) -> Buffer {
        let buffer = system.makeBuffer(
            tables: tables, policy: .default, effective: .default, fixedSize: nil)
        buffer.state.withLock { state in
            state.huge = huge ?? .never
            state.isHugeChosen = huge != nil
        }
        return buffer
    }

    /// All buffers and device memories, in the order in which they were made.
    public var buffers: [Buffer] { system.buffers.withLock { $0.elements } }

    func buffer(id: UInt64) -> Buffer? { system.buffers.withLock { $0[id] } }

    /// The first buffer made, of those with an id or a higher one.
    func nextBuffer(from id: UInt64) -> Buffer? { system.buffers.withLock { $0.next(from: id)?.element } }

    /// Frees a buffer's memory for good. A reply that still reads from it keeps its part until it is done.
    public func remove(_ buffer: Buffer) {
        // Before any page goes, so that none can come back.
        if buffer.fixedSize == nil {
            buffer.state.withLock { state in
                state.size = 0
                state.contiguous = nil
                buffer.setBacking(nil, in: &state)
            }
        }
        discard(buffer, pages: 0..<UInt64.max >> Page.shift)
        _ = system.buffers.withLock { $0.remove(buffer.id) }
        system.pinned.withLock { _ = $0.remove(buffer.id) }
    }
}

/// What the machine changes while it runs, apart from its nodes.
final class SystemState: Sendable {
    struct Hooks {
        var invalidator: (any MappingInvalidator)?
        var observer: (@Sendable (MachineEvent) -> Void)?
        var recorder: (@Sendable (MachineEvent) -> Void)?
        var backgroundObserver: (@Sendable (BackgroundMove) -> @Sendable () -> Void)?
    }

    let hooks = Mutex(Hooks())
    let autoOnline = Mutex(OnlineType.offline)
    let buffers = Mutex(IDTable<Buffer>())
    let hasOwnWeights = Atomic(false)
    let transfers = TransferMatrix()
    /// The buffers whose pages are pinned.
    let pinned = Mutex<Set<UInt64>>([])
    let pressure = PressureState()
    /// How many pages the host has memory for.
    let hostBudget = HostBudget()
    /// Held while a page fails, before every other lock (mf_mutex of mm/memory-failure.c).
    let failureTurn = FairSemaphore()
    /// Whether any page was ever poisoned.
    let hasPoison = Atomic(false)
    private let nextID = Atomic<UInt64>(1)

    func makeBuffer(
        tables: TablePool, policy: MemoryPolicy, effective: EffectivePolicy, fixedSize: UInt64?
    ) -> Buffer {
        let id = nextID.wrappingAdd(1, ordering: .relaxed).oldValue
        let buffer = Buffer(id: id, tables: tables, policy: policy, effective: effective, fixedSize: fixedSize)
        buffers.withLock { $0[id] = buffer }
        return buffer
    }
}
