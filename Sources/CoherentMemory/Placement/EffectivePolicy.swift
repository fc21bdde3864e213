import LinuxSupport
import MachineTopology

/// A policy made ready for the fault path: no ids, no heap.
struct EffectivePolicy: Sendable {
    var mode: MemoryPolicy.Mode
    var nodes = NodeMask()
    var flag: MemoryPolicy.NodeFlag?
    /// The place of the home node.
    var home: Int?

    static let `default` = EffectivePolicy(mode: .default)

    var isDefault: Bool { mode == .default && nodes.isEmpty && flag == nil }
}

/// Who asks for frames, and what he may be given: policy, cpuset and isolation put together.
struct AllocationContext {
    var policy: EffectivePolicy
    /// The nodes of the task's cpuset, and those that no cpuset governs; nil where there is no such limit.
    var allowed: NodeMask?
    /// The place of the node where the task runs.
    var local: Int
    /// The process that asks; 0 where none does, or where it matters to no node.
    var process: Int32
    /// Whether the frames are for a device's own memory, which neither policies, cpusets nor isolation concern.
    var isDevice = false
    /// Whether a device touches the pages.
    var isDeviceTouch = false
    /// Whether the pages are pinned from the moment that they are there.
    var isPinned = false
    /// The share in which the frames count.
    var share: FrameShare?
    /// What the origin knows of nodes that are not for any task.
    var access: [Int: Bool] = [:]

    func allows(_ index: Int) -> Bool { allowed?.contains(index) ?? true }
}

extension NodeMap {
    /// A policy for the fault path. Nodes that the machine does not have are left out.
    func effective(_ policy: MemoryPolicy) -> EffectivePolicy {
        EffectivePolicy(
            mode: policy.mode, nodes: mask(policy.nodes), flag: policy.flag,
            home: policy.home.flatMap { node($0)?.index })
    }

    func mask(_ nodes: IDSet) -> NodeMask { NodeMask(nodes.lazy.compactMap { self.node($0)?.index }) }

}

extension Placer {
    /// What is in force for a touch: the buffer's own policy, else that of the task, else the default (get_vma_policy()
    /// and shmem_get_policy()), within the task's cpuset.
    func context(for policy: borrowing EffectivePolicy, isDevice: Bool, origin: Origin) -> AllocationContext {
        let local = map.node(origin.node)?.index ?? 0
        var context = AllocationContext(policy: copy policy, local: local, process: 0, isDevice: isDevice)
        context.isDeviceTouch = origin.isDevice
        guard !isDevice else { return context }
        context.access = origin.access
        if let task = tasks.placement(of: origin.pid, in: map) {
            context.process = task.process
            context.allowed = task.allowed
            if context.policy.mode == .default { context.policy = task.policy }
        }
        switch context.policy.flag {
        case .static:
            context.policy.nodes = context.policy.nodes.intersection(context.allowed ?? nodesWithMemory)
        case .relative:
            context.policy.nodes = relative(context.policy.nodes, allowed: context.allowed)
        case nil: break
        }
        if context.policy.flag != nil, context.policy.mode.traits.list == .one, !context.policy.nodes.isEmpty {
            context.policy.nodes = NodeMask([context.policy.nodes.member(0)])
        }
        context.policy.flag = nil
        // A policy that leaves nothing says nothing; nor does a list of nodes that are all forbidden (policy_nodemask()).
        let isVoid =
            switch (context.policy.mode.traits.list, context.policy.mode.traits.scope) {
            case (.none, _): false
            case (_, .listed), (_, .listedThenAll):
                !(context.allowed?.intersects(context.policy.nodes) ?? !context.policy.nodes.isEmpty)
            case (_, .all): context.policy.nodes.isEmpty
            }
        if isVoid { context.policy = .default }
        // To a device its own node is the local one, and it names it.
        if origin.isDevice, context.policy.mode == .default || context.policy.mode == .local, context.allows(local) {
            context.policy = EffectivePolicy(mode: .prefer, nodes: NodeMask([local]))
        }
        return context
    }

    private var nodesWithMemory: NodeMask { NodeMask(nodes.lazy.filter(\.hasMemory).map(\.index)) }

    private func relative(_ nodes: NodeMask, allowed: NodeMask?) -> NodeMask {
        var targets = NodeMask()
        for node in self.nodes where node.allows(.cpuset) && allowed?.contains(node.index) ?? node.hasMemory {
            targets.insert(node.index)
        }
        var result = NodeMask()
        guard !targets.isEmpty else { return result }
        nodes.forEach { result.insert(targets.member(self.nodes[$0].id % targets.count)) }
        return result
    }
}
