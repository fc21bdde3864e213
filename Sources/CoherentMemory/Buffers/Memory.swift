import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// The buffers of a machine, and what gives their pages frames.
final class Memory: Sendable {
    let nodes: NodeMap
    let placer: Placer
    let tables: TablePool
    let hinting: HintingFaults
    let trace = Tracer()
    let clock = MachineClock()
    private let all = Mutex(IDTable<Buffer>())
    private let nextID = Atomic<UInt64>(1)
    /// The buffers whose pages are pinned.
    let pinned = Mutex<Set<UInt64>>([])
    /// The address spaces of programs that have locked pages.
    let locked = Mutex<Set<UInt64>>([])
    /// What stands between the machine and the programs that map its memory, if anything.
    let invalidator = Mutex<(any MappingInvalidator)?>(nil)

    /// - Throws: ENOMEM and the like where the host refuses address space.
    init(_ nodes: NodeMap) throws(Errno) {
        self.nodes = nodes
        placer = Placer(nodes)
        tables = try TablePool(nodes)
        hinting = HintingFaults(placer, clock)
        let trace = trace
        placer.tasks.setObserver { trace.notePlacement(of: $0, $1, $2) }
    }

    /// Every buffer and device memory there is, in the order they were made.
    var buffers: [Buffer] { all.withLock { $0.elements } }

    func buffer(id: UInt64) -> Buffer? { all.withLock { $0[id] } }

    /// The first buffer made, of those with an id or a higher one.
    func nextBuffer(from id: UInt64) -> Buffer? { all.withLock { $0.next(from: id)?.element } }

    func makeBuffer(
        policy: MemoryPolicy = .default, effective: EffectivePolicy = .default, fixedSize: UInt64? = nil
    ) -> Buffer {
        let id = nextID.wrappingAdd(1, ordering: .relaxed).oldValue
        let buffer = Buffer(id: id, tables: tables, policy: policy, effective: effective, fixedSize: fixedSize)
        all.withLock { $0[id] = buffer }
        return buffer
    }

    /// The address space of a program.
    func makeAddressSpace(size: UInt64, isShared: Bool) -> Buffer {
        let id = nextID.wrappingAdd(1, ordering: .relaxed).oldValue
        let buffer = Buffer(addressSpace: id, tables: tables, size: size, isShared: isShared)
        all.withLock { $0[id] = buffer }
        return buffer
    }

    /// Memory that a device's driver hands out, always bound to its node.
    func makeMemory(of node: Node, size: UInt64?) -> Buffer {
        makeBuffer(
            policy: .bind(node.id), effective: EffectivePolicy(mode: .bind, nodes: NodeMask([node.index])),
            fixedSize: size)
    }

    /// Forgets a buffer whose pages are gone.
    func forget(_ buffer: Buffer) {
        _ = all.withLock { $0.remove(buffer.id) }
        pinned.withLock { _ = $0.remove(buffer.id) }
        if buffer.isAnonymous { locked.withLock { _ = $0.remove(buffer.id) } }
    }

    /// Forgets the page tables of a device that is gone.
    func forgetContexts(of mmu: DeviceMMU) {
        for buffer in buffers {
            buffer.state.withLock { $0.pages.unmap(0..<UInt64.max >> Page.shift, from: mmu) }
        }
    }

    /// Gives frames back that no page table has.
    func release(_ run: FrameRun) { nodes.node(of: run.start).release(run) }

    /// Who has frames of a range, each with the span of its pages there.
    func owners(of frames: Range<PFN>) -> [(Buffer, Range<UInt64>)] {
        tables.owners(of: frames).compactMap { id, span in buffer(id: id).map { ($0, span) } }
    }

    /// Who has a frame, with the pages of the leaf that maps it. A hint until the buffer is locked.
    func owner(of pfn: PFN, on node: Node) -> (buffer: Buffer, pages: Range<UInt64>)? {
        tables.owner(of: pfn, on: node).flatMap { owner in buffer(id: owner.id).map { ($0, owner.pages) } }
    }

    /// A touch with the answer to whether it may use the nodes that are not for any task and that it may want a frame of.
    ///
    /// To be asked before the buffer's lock is taken, for the answer may take a while: the host knows who holds a device
    /// open. Where a policy changes in between, it is asked again under the lock.
    ///
    /// - Parameter pages: those touched; nil for any.
    func resolvingAccess(_ origin: Origin, for buffer: Buffer, pages: Range<UInt64>?) -> Origin {
        guard buffer.fixedSize == nil, nodes.all.contains(where: { !$0.allows(.anyTask) }) else {
            return origin
        }
        let policy = buffer.state.withLock { state -> EffectivePolicy? in
            if let pages, state.pages.missing(of: pages) == 0 { return nil }
            // Other pages of the range may have others; what those want to know is asked under the lock.
            return state.effective(at: pages?.lowerBound ?? 0)
        }
        guard let policy else { return origin }
        let context = placer.context(for: policy, isDevice: false, origin: origin)
        var origin = origin
        for node in nodes.all where !node.allows(.anyTask) {
            guard context.policy.nodes.contains(node.index) || node.allows(.fallback), context.allows(node.index) else {
                continue
            }
            origin.access[node.index] = placer.tasks.mayUse(node, process: context.process)
        }
        return origin
    }
}
