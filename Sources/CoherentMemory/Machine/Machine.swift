import Glibc
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// What the machine tells its observer.
public enum MachineEvent: Sendable, Hashable {
    /// A memory block changed its state.
    case block(UInt64, MemoryBlockState)
    /// A device's state word changed.
    case device(name: String, state: DeviceState)
    /// What the system may do with a node's memory changed, to this.
    case capabilities(node: Int, NodeCapabilities)
    /// A migration of pages of a buffer began or ended.
    case migration(buffer: UInt64)
    /// A migration of a whole node began or ended.
    case nodeMigration(node: Int)
    /// A memory block came, or went.
    case blockAdded(UInt64)
    case blockRemoved(UInt64)
    /// A node came, or went.
    case nodeAdded(Int)
    case nodeRemoved(Int)
    /// A device came, or went.
    case deviceAdded(String)
    case deviceRemoved(String)
    /// The link of a device went down, and its node with it, or came up again.
    case link(name: String, LinkState)
    /// The link of a device erred, and recovered.
    case linkErrors(name: String, count: UInt64)
    /// A device has done a command of its queue, or has failed to.
    case commandCompleted(device: String)
    /// A page failed, or is in service again.
    case pageFailed(PageFailure)
}

/// What stands between the machine and the programs that map its memory: the kernel's page cache.
public protocol MappingInvalidator: Sendable {
    /// Unmaps pages of a buffer from every process and writes back what was stored to them, before it returns
    /// (invalidate_inode_pages2_range()). Called from a thread that no request waits for, with no lock held.
    func invalidate(_ buffer: Buffer, pages: Range<UInt64>)

    /// Writes back what was stored to pages of a buffer, as far as that is of use (filemap_fdatawrite_range()). Called
    /// ahead of ``invalidate(_:pages:)``, which it makes faster and never replaces.
    ///
    /// - Parameter next: pages whose write-back may begin; whoever wants it done asks for them again.
    func writeBack(_ buffer: Buffer, pages: Range<UInt64>, next: Range<UInt64>)
}

extension MappingInvalidator {
    /// Leaves it to the invalidation.
    public func writeBack(_ buffer: Buffer, pages: Range<UInt64>, next: Range<UInt64>) {}
}

/// The simulated machine: nodes of memory, coherent devices, and the buffers that live on them.
///
/// All operations may be called from any thread. Locks are taken in this order: turn of the failures, migration turn of
/// a buffer, unmap turn of a buffer, buffer (of two the one made first), command queue, node, table pool. None is held across
/// a call to the ``MappingInvalidator`` or the observer, but the turns: for the unmap turn devices wait, too, for the others
/// only those who migrate or make pages fail.
public final class Machine: Sendable {
    /// What the machine was made from.
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

    /// Memory that is 0 for as long as the machine lasts, of which reads give pages that were never stored to.
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
    /// - Throws: ENOMEM and the like where the host refuses address space.
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

    /// The node `nodeN`, if there is one.
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

    /// Sets who unmaps pages. Without one, nothing is mapped.
    public func setInvalidator(_ invalidator: any MappingInvalidator) {
        system.hooks.withLock { $0.invalidator = invalidator }
    }

    /// Sets who is told of changes. Called without locks, from the thread that made the change.
    public func setObserver(_ observer: @escaping @Sendable (MachineEvent) -> Void) {
        system.hooks.withLock { $0.observer = observer }
    }

    /// Sets who notes changes in the order in which they came about. Called with a lock of the machine held, so it may
    /// only take note.
    public func setRecorder(_ recorder: @escaping @Sendable (MachineEvent) -> Void) {
        system.hooks.withLock { $0.recorder = recorder }
    }

    func note(_ event: MachineEvent) { system.hooks.withLock { $0.recorder }?(event) }

    /// What becomes of hot-added memory blocks; `offline` until it is set (mhp_default_online_type).
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
    /// - Parameter huge: whether its pages are huge; nil where nobody has chosen, and then they are not while it is tracked.
    public func makeBuffer(huge: HugeMode? = nil) -> Buffer {
        let buffer = system.makeBuffer(
            tables: tables, policy: .default, effective: .default, fixedSize: nil)
        buffer.state.withLock { state in
            state.huge = huge ?? .never
            state.isHugeChosen = huge != nil
        }
        return buffer
    }

    /// Every buffer and device memory there is, in the order they were made.
    public var buffers: [Buffer] { system.buffers.withLock { $0.elements } }

    func buffer(id: UInt64) -> Buffer? { system.buffers.withLock { $0[id] } }

    /// The first buffer made, of those with an id or a higher one.
    func nextBuffer(from id: UInt64) -> Buffer? { system.buffers.withLock { $0.next(from: id)?.element } }

    /// Frees a buffer's memory for good. A reply that still reads from it keeps just what it reads until it is done.
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
