import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

extension Machine {
    /// Sets where pages of a buffer are allocated from now on; pages that it has stay where they are.
    ///
    /// - Parameter task: who sets it, 0 for nobody in particular.
    /// - Throws: EPERM for a device's memory, which is always bound to its node, and for a restricted node that the task
    ///   may not use; EINVAL for a node without memory.
    public func setPolicy(_ policy: MemoryPolicy, of buffer: Buffer, by task: Int32 = 0) throws(Errno) {
        guard buffer.fixedSize == nil else { throw .notPermitted }
        try checkAccess(
            to: policy, by: task,
            within: (try? memory.placer.tasks.allowedNodes(of: task, in: nodeMap)) ?? nodesWithMemory)
        let effective = nodeMap.effective(policy)
        buffer.state.withLock { state in
            state.policy = policy
            state.effective = effective
        }
    }

    /// Checks that a task may name the nodes of a policy. Relative nodes stand for others among those allowed.
    private func checkAccess(
        to policy: MemoryPolicy, by task: Int32, within allowed: @autoclosure () -> IDSet
    ) throws(Errno) {
        // Asking for what is allowed costs a look into /proc.
        try checkAccess(to: policy.flag == .relative ? policy.nodes.relative(to: allowed()) : policy.nodes, by: task)
    }

    /// Checks that a task may name nodes. EINVAL for one without memory, or that policies may not name, EPERM for one that it
    /// may not use; a `task` of 0 stands for the machine itself.
    public func checkAccess(to nodes: IDSet, by task: Int32) throws(Errno) {
        for id in nodes {
            guard let node = node(id), node.allows(.mempolicy), node.hasMemory else { throw .invalidArgument }
            try checkAccess(to: node, by: task)
        }
    }

    /// Checks that a task may name a node. EPERM where it is not for any task, and the task neither holds the device open nor
    /// was allowed by name; a `task` of 0 stands for the machine itself.
    public func checkAccess(to node: Node, by task: Int32) throws(Errno) {
        guard !node.allows(.anyTask), task != 0, !memory.placer.tasks.mayUse(node, task: task) else { return }
        node.counters.refusedNotAllowed.add(1)
        throw .notPermitted
    }

    /// Gives a coherent node the rights that a word stands for. As ``updateCapabilities(of:_:)`` otherwise.
    public func setIsolation(_ isolation: Isolation, of node: Node) throws(Errno) {
        try updateCapabilities(of: node) { $0 = isolation.capabilities }
    }

    /// Changes what the system may do with the memory of a coherent node, with no other change in between. Pages that are
    /// there stay.
    ///
    /// - Throws: EINVAL for a node of RAM, and for rights that lack what they need; EBUSY where ``NodeCapabilities/node`` is
    ///   given or taken while a page is in use or going offline; ENODEV when the node is gone.
    public func updateCapabilities(of node: Node, _ change: (inout NodeCapabilities) -> Void) throws(Errno) {
        guard node.kind == .coherent else { throw .invalidArgument }
        var new = NodeCapabilities()
        var changed = NodeCapabilities()
        let isChanged = try node.updateCapabilities(change) { zone, before, after in
            new = after
            changed = before.symmetricDifference(after)
            events.note(.capabilities(node: node.id, after))
            guard changed.contains(.node) else { return }
            // The blocks go with the node, and come back with it.
            for block in zone.presentBlocks where zone.state(of: block) == .online {
                events.note(
                    .block(nodeMap.number(ofBlock: block, of: node), after.contains(.node) ? .online : .offline))
            }
        }
        guard isChanged else { return }
        if !changed.isDisjoint(with: [.node, .cpuset]) { memory.placer.tasks.nodesChanged(in: nodeMap) }
        if new.contains(.anyTask) { memory.placer.tasks.changed() } else { memory.placer.tasks.activate() }
        events.announce(.capabilities(node: node.id, new))
    }

    /// Whether the machine chooses the weights of weighted interleaving: 1 for each node, for the topology says the
    /// bandwidth of devices only. Turned off, the weights stay as they are; turned on, those that were set are gone.
    public var hasAutomaticWeights: Bool {
        get { !memory.placer.hasOwnWeights.load(ordering: .relaxed) }
        set {
            memory.placer.hasOwnWeights.store(!newValue, ordering: .relaxed)
            if newValue { for node in nodes { node.setInterleaveWeight(1) } }
        }
    }

    /// Sets the pages in a row on a node under weighted interleaving, which ends the machine's own choice. EINVAL for what
    /// is not in 1 to 255.
    public func setInterleaveWeight(_ weight: Int, of node: Node) throws(Errno) {
        guard (1...255).contains(weight) else { throw .invalidArgument }
        memory.placer.hasOwnWeights.store(true, ordering: .relaxed)
        node.setInterleaveWeight(UInt8(weight))
    }

    // MARK: Tasks

    /// Sets who knows the tasks of the host. Without, no task has a policy or a group.
    public func setTaskDirectory(_ directory: any TaskDirectory) { memory.placer.tasks.setDirectory(directory) }

    /// Sets the policy of a task, and of those that it makes from now on (set_mempolicy(2)). It is used for buffers
    /// whose own policy is `default`.
    ///
    /// - Parameter startTime: when the task began, where a later one of the same number is not meant.
    /// - Throws: ESRCH for no such task, EINVAL for nodes that have no memory or that its cpuset does not allow at all,
    ///   EPERM for a restricted node that it may not use.
    public func setPolicy(_ policy: MemoryPolicy, ofTask id: Int32, startTime: UInt64? = nil) throws(Errno) {
        let allowed = try memory.placer.tasks.allowedNodes(of: id, in: nodeMap)
        try checkAccess(to: policy, by: id, within: allowed)
        try memory.placer.tasks.setPolicy(policy, of: id, startTime: startTime, in: nodeMap)
    }

    /// Notes that a task is at work, so that it keeps what it has inherited though its maker may end. Cheap where no task has
    /// anything to hand down.
    public func noteTask(_ id: Int32) { _ = memory.placer.tasks.placement(of: id, in: nodeMap) }

    /// The policy of a task, its own or inherited. ESRCH for no such task.
    public func policy(ofTask id: Int32) throws(Errno) -> MemoryPolicy {
        try memory.placer.tasks.policy(of: id, in: nodeMap)
    }

    /// The tasks that have a policy other than the default, ascending.
    public var taskPolicies: [(task: Int32, policy: MemoryPolicy)] { memory.placer.tasks.policies(in: nodeMap) }

    /// Allows a process a restricted node, or takes that back. ESRCH for no such process, or one that was not allowed.
    ///
    /// - Parameter startTime: when the process began, where a later one of the same number is not meant.
    public func setPermitted(
        _ isPermitted: Bool, process: Int32, startTime: UInt64? = nil, on node: Node
    ) throws(Errno) {
        try memory.placer.tasks.setPermitted(isPermitted, process: process, startTime: startTime, on: node)
    }

    /// The processes allowed a restricted node by name, ascending.
    public func permittedProcesses(on node: Node) -> [Int32] { memory.placer.tasks.permitted(on: node) }

    // MARK: Groups

    /// The group of all tasks that are in no other.
    public var rootGroup: ControlGroup { memory.placer.tasks.root }

    /// Makes a group. EEXIST where the name is taken, ENOENT where the parent has gone, ENAMETOOLONG where its path would have
    /// PATH_MAX bytes.
    public func makeGroup(_ name: String, in parent: ControlGroup) throws(Errno) -> ControlGroup {
        try memory.placer.tasks.makeGroup(name, in: parent)
    }

    /// Removes a group. ENOENT where there is none, EBUSY while it has processes or groups.
    public func removeGroup(_ name: String, in parent: ControlGroup) throws(Errno) {
        try memory.placer.tasks.removeGroup(name, in: parent)
    }

    /// Sets the nodes that the tasks of a group may use (cpuset.mems); none for those of the parent.
    ///
    /// - Returns: each group concerned with the nodes it had and those it has now; their tasks' memory is for the caller
    ///   to move.
    /// - Throws: EINVAL for a node that is not possible, EACCES for the root.
    public func setMems(
        _ nodes: IDSet, of group: ControlGroup
    ) throws(Errno) -> [(group: ControlGroup, old: IDSet, new: IDSet)] {
        guard group.parent != nil else { throw .permissionDenied }
        guard nodes.isSubset(of: topology.possible) else { throw .invalidArgument }
        let all = group.tree
        let old = all.map { effectiveMems(of: $0) }
        group.state.withLock { $0.mems = nodes }
        memory.placer.tasks.nodesChanged(below: group, in: nodeMap)
        return zip(all, old).compactMap { group, old in
            let new = effectiveMems(of: group)
            return old == new ? nil : (group, old, new)
        }
    }

    /// The nodes that the tasks of a group may use (cpuset.mems.effective).
    public func effectiveMems(of group: ControlGroup) -> IDSet {
        group.effectiveMems(root: nodeMap.withMemory(.cpuset))
    }

    /// The nodes that the tasks of a group may name: those of its cpuset, and those that no cpuset governs.
    public func allowedNodes(of group: ControlGroup) -> IDSet { effectiveMems(of: group).union(nodeMap.ungoverned) }

    /// Puts a process into a group; returns the one that it was in. ESRCH where there is none.
    ///
    /// - Parameter startTime: when the process began, where a later one of the same number is not meant.
    public func attach(
        process: Int32, startTime: UInt64? = nil, to group: ControlGroup
    ) throws(Errno) -> ControlGroup {
        let old = try memory.placer.tasks.group(of: process)
        try memory.placer.tasks.attach(process, startTime: startTime, to: group, in: nodeMap)
        return old
    }

    /// The group of a process. ESRCH where there is none.
    public func group(ofProcess id: Int32) throws(Errno) -> ControlGroup { try memory.placer.tasks.group(of: id) }

    /// The processes of a group, ascending (cgroup.procs).
    public func processes(in group: ControlGroup) -> [Int32] { memory.placer.tasks.processes(in: group) }
}
