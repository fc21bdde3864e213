import LinuxSupport
import MachineTopology
import SystemPackage

/// The simulated machine: nodes of memory, coherent devices, and the buffers that live on them. It ties the layers together, one
/// folder each, of which each names only types of those before it:
///
///     Support < Frames < Nodes < Placement < Tracing < Pages < Buffers < Devices < Migration
///         < Hotplug, Failures, Pressure, Engine < Machine
///
/// All operations may be called from any thread. Locks are taken in this order:
///
/// 1. the turn of failures and the turn of a node's pool of huge pages,
/// 2. the migration turn of a buffer,
/// 3. a channel of a device's copy engine, of several devices by their place,
/// 4. the unmap turn of a buffer,
/// 5. the state of a buffer, of two the one made first,
/// 6. tasks, then groups,
/// 7. a command queue,
/// 8. a node,
/// 9. the table pool, the table of buffers, and all that guard but one value.
///
/// None is held across a call to the ``MappingInvalidator`` or the observer, but the turns: for the unmap turn devices wait, too,
/// for the others only those who migrate or make pages fail.
public final class Machine: Sendable {
    /// The topology from which the machine was made.
    public let topology: Topology
    /// The nodes in ascending order of their ids.
    public let nodes: [Node]
    /// The coherent devices in ascending order of their nodes.
    public let devices: [Device]
    let nodeMap: NodeMap
    let memory: Memory
    let events: Events
    let mover: Mover
    let hotplug: Hotplug
    let failures: Failures
    let background = BackgroundMoves()
    let reclaimer: Reclaimer
    let balancer: Balancer
    let engine: Engine

    /// A machine with all its memory free.
    ///
    /// - Throws: ENOMEM and similar errors if the host refuses address space.
    public init(topology: Topology) throws(Errno) {
        self.topology = topology
        nodeMap = try NodeMap(topology)
        nodes = nodeMap.all
        memory = try Memory(nodeMap)
        let trace = memory.trace
        events = Events(nodeMap, memory.trace)
        var devices: [Device] = []
        for (node, description) in zip(nodes, topology.nodes) {
            guard let name = description.device, let link = node.link else { continue }
            let memory = memory.makeMemory(of: node, size: description.memory)
            devices.append(Device(name: name, node: node, memory: memory, link: link, trace: trace))
        }
        self.devices = devices
        mover = Mover(memory, devices: devices, events: events)
        hotplug = Hotplug(mover, topology)
        failures = Failures(mover)
        reclaimer = Reclaimer(mover, background)
        balancer = Balancer(mover, background)
        engine = Engine(mover)
        nodeMap.updateWatermarks()
        if nodes.contains(where: { !$0.allows(.anyTask) }) { memory.placer.tasks.activate() }
    }

    deinit {
        // The frames go with the nodes, and the tables with their pool.
        for buffer in buffers {
            buffer.state.withLock { state in
                state.pages.table.abandon()
                for context in state.pages.contexts { context.table.abandon() }
                // A device that maps pages of its own memory would keep that, which keeps the tables, and be kept by it.
                state.pages.contexts = []
            }
        }
    }

    /// The node `nodeN`, or nil if there is none.
    public func node(_ id: Int) -> Node? { nodeMap.node(id) }

    /// The ids of the nodes that have memory online and that policies may name (N_MEMORY, and the nodes of N_MEMORY_PRIVATE
    /// with NODE_PRIVATE_CAP_MEMPOLICY).
    public var nodesWithMemory: IDSet { nodeMap.withMemory(.mempolicy) }

    /// Pages per memory block.
    public var pagesPerBlock: Int { nodeMap.framesPerBlock }

    /// The device `name`, or nil if there is none.
    public func device(named name: String) -> Device? { devices.first { $0.name == name } }

    /// Zeroed memory with the lifetime of the machine. Reads use it for pages that were never stored to.
    public var zeroPages: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: memory.tables.storage.zeros.base, count: PageStorage.zeroLength)
    }

    /// The pages that moved from node to node since the machine was made, by reason; ascending, without zero counts.
    public var transfers: [Transfer] { mover.transfers.rows(nodes) }

    /// What is recorded of the machine.
    public var trace: Tracer { memory.trace }

    /// Sets the invalidator that unmaps pages. Without one, nothing is mapped.
    public func setInvalidator(_ invalidator: any MappingInvalidator) {
        memory.invalidator.withLock { $0 = invalidator }
    }

    /// Sets the observer of changes. It is called without locks, on the thread that made the change.
    public func setObserver(_ observer: @escaping @Sendable (MachineEvent) -> Void) { events.setObserver(observer) }

    /// Sets the recorder of changes, which is called in the order in which they happen. A lock of the machine is held,
    /// so it may only record them.
    public func setRecorder(_ recorder: @escaping @Sendable (MachineEvent) -> Void) { events.setRecorder(recorder) }

    /// Limits the number of pages that have frames. At the limit allocations fail as if all nodes were full.
    public func setHostLimit(pages: UInt64) { memory.placer.hostBudget.setLimit(Int(clamping: pages)) }

    // MARK: Buffers

    /// A new, empty buffer with the default policy.
    ///
    /// - Parameter huge: whether its pages are huge; nil if nothing was chosen: then they are not huge while it is
    ///   tracked.
    public func makeBuffer(huge: HugeMode? = nil) -> Buffer {
        let buffer = memory.makeBuffer()
        buffer.state.withLock { state in
            state.huge = huge ?? .never
            state.isHugeChosen = huge != nil
        }
        trace.noteMade(buffer)
        if let huge { trace.note(.hugeMode, of: buffer, huge.place) }
        return buffer
    }

    /// Memory of a device that a driver hands out by other means than the device's file. It is empty at first, has at
    /// most the size of the node, is always bound to the node, and no task's policy applies. Its pages move away as all
    /// others if the node is removed.
    public func makeMemory(of device: Device) -> Buffer {
        let memory = memory.makeMemory(of: device.node, size: device.memory.fixedSize)
        trace.noteMade(memory, on: device.node)
        return memory
    }

    /// All buffers and device memories, in the order in which they were made.
    public var buffers: [Buffer] { memory.buffers }

    /// The first of them with an id, or a higher one; nil for none.
    public func nextBuffer(from id: Buffer.ID) -> Buffer? { memory.nextBuffer(from: id) }

    /// Frees a buffer's memory for good. A reply that still reads from it keeps its part until it is done.
    public func remove(_ buffer: Buffer) {
        // Before any page goes, so that none can come back.
        if buffer.isAnonymous {
            buffer.state.withLock { $0.size = 0 }
        } else if buffer.fixedSize == nil {
            buffer.state.withLock { state in
                state.size = 0
                state.contiguous = nil
                buffer.setBacking(nil, in: &state)
            }
        }
        memory.discard(buffer, pages: 0..<UInt64.max >> Page.shift)
        if isHugeMapping(buffer) { cancelReservation(of: buffer, pages: 0..<Self.addressLimit >> Page.shift) }
        memory.forget(buffer)
        trace.noteRemoved(buffer)
    }
}
