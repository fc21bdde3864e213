import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

extension Machine {
    /// Sets the policy of pages of a buffer that are allocated later, and removes those of ranges; present pages do not move.
    ///
    /// - Parameters:
    ///   - policy: the new policy.
    ///   - buffer: the buffer.
    ///   - task: the calling task, 0 for none in particular.
    /// - Throws: EPERM for a device's memory, which is always bound to its node, and for a restricted node that the
    ///   task may not use; EINVAL for a node without memory.
    public func setPolicy(_ policy: MemoryPolicy, of buffer: Buffer, by task: Int32 = 0) throws(Errno) {
        guard buffer.fixedSize == nil else { throw .notPermitted }
        try checkAccess(to: policy, by: task)
        let effective = nodeMap.effective(policy)
        buffer.state.withLock { state in
            state.policy = policy
            state.effective = effective
            state.ranges = RangePolicies()
        }
        trace.notePolicy(policy, of: buffer.id, pages: nil, by: task)
    }

    /// Checks that a task, 0 for none in particular, may name the nodes of a policy.
    func checkAccess(to policy: MemoryPolicy, by task: Int32) throws(Errno) {
        try checkAccess(
            to: policy, by: task,
            within: (try? memory.placer.tasks.allowedNodes(of: task, in: nodeMap)) ?? nodesWithMemory)
    }

    /// The same where the nodes that it may use are known. Relative nodes stand for others among those.
    private func checkAccess(
        to policy: MemoryPolicy, by task: Int32, within allowed: @autoclosure () -> IDSet
    ) throws(Errno) {
        // Asking for what is allowed costs a look into /proc.
        let nodes =
            switch policy.flag {
            case .relative: policy.nodes(within: allowed())
            case .static: policy.nodes(within: allowed().union(nodeMap.ungoverned))
            case nil: policy.nodes
            }
        try checkAccess(to: nodes, by: task)
    }

    /// Checks that a task may name nodes. EINVAL for one without memory, or that policies may not name, EPERM for one
    /// that it may not use; a `task` of 0 is the machine itself.
    public func checkAccess(to nodes: IDSet, by task: Int32) throws(Errno) {
        for id in nodes {
            guard let node = node(id), node.allows(.mempolicy), node.hasMemory else { throw .invalidArgument }
            try checkAccess(to: node, by: task)
        }
    }

    /// Checks that a task may name a node. EPERM if it is not for any task, and the task neither holds the device open
    /// nor was allowed by name; a `task` of 0 is the machine itself.
    public func checkAccess(to node: Node, by task: Int32) throws(Errno) {
        guard !node.allows(.anyTask), task != 0, !memory.placer.tasks.mayUse(node, task: task) else { return }
        node.counters.refusedNotAllowed.add(1)
        trace.noteIsolated(.notAllowed, by: node, 0..<0, of: 0, Origin(pid: task, node: Int(TraceEvent.noNode)))
        throw .notPermitted
    }

    /// Sets the capabilities of a coherent node to those of a word; otherwise as ``updateCapabilities(of:_:)``.
    public func setIsolation(_ isolation: Isolation, of node: Node) throws(Errno) {
        try updateCapabilities(of: node) { $0 = isolation.capabilities }
    }

    /// Changes the capabilities of a coherent node atomically. Existing pages stay.
    ///
    /// - Throws: EINVAL for a node of RAM, and for rights without the rights that they need; EBUSY for a change of
    ///   `NodeCapabilities.node` while a page is in use or going offline; ENODEV if the node is gone.
    public func updateCapabilities(of node: Node, _ change: (inout NodeCapabilities) -> Void) throws(Errno) {
        guard node.kind == .coherent else { throw .invalidArgument }
        var new = NodeCapabilities()
        var changed = NodeCapabilities()
        let isChanged = try node.updateCapabilities(change) { zone, before, after in
            new = after
            changed = before.symmetricDifference(after)
            events.note(.capabilities(node: node.id, after))
            guard changed.contains(.node) else { return }
            if let name = node.deviceName, zone.blocks > 0 {
                let drivers: [MemoryDriver] = before.contains(.node) ? [.kmem, .deviceDAX] : [.deviceDAX, .kmem]
                events.note(.unbound(device: name, drivers[0]))
                events.note(.bound(device: name, drivers[1]))
            }
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

    /// Whether the weights of weighted interleaving are automatic: 1 for each node, because the topology gives the
    /// bandwidth of devices only. If it is turned off, the weights stay; if it is turned on, weights that were set are
    /// dropped.
    public var hasAutomaticWeights: Bool {
        get { !memory.placer.hasOwnWeights.load(ordering: .relaxed) }
        set {
            memory.placer.hasOwnWeights.store(!newValue, ordering: .relaxed)
            trace.note(.automaticWeights, newValue ? 1 : 0)
            if newValue { for node in nodes { node.setInterleaveWeight(1) } }
        }
    }

    /// Sets the consecutive pages on a node under weighted interleaving, which turns automatic weights off. EINVAL if
    /// it is not in 1 to 255.
    public func setInterleaveWeight(_ weight: Int, of node: Node) throws(Errno) {
        guard (1...255).contains(weight) else { throw .invalidArgument }
        memory.placer.hasOwnWeights.store(true, ordering: .relaxed)
        node.setInterleaveWeight(UInt8(weight))
        trace.note(.interleaveWeight, on: node, UInt64(weight))
    }

    // MARK: Tasks

    /// Sets the directory of the host's tasks. Without one, no task has a policy or a group.
    public func setTaskDirectory(_ directory: any TaskDirectory) { memory.placer.tasks.setDirectory(directory) }

    /// Sets the policy of a task and of its later children (set_mempolicy(2)). It applies to buffers whose own policy
    /// is `default`.
    ///
    /// - Parameters:
    ///   - policy: the new policy.
    ///   - id: the number of the task.
    ///   - startTime: the start time of the task, to exclude a later one with the same number.
    /// - Throws: ESRCH if there is no such task, EINVAL for nodes that have no memory or that its cpuset does not allow
    ///   at all, EPERM for a restricted node that it may not use.
    public func setPolicy(_ policy: MemoryPolicy, ofTask id: Int32, startTime: UInt64? = nil) throws(Errno) {
        let allowed = try memory.placer.tasks.allowedNodes(of: id, in: nodeMap)
        try checkAccess(to: policy, by: id, within: allowed)
        try memory.placer.tasks.setPolicy(policy, of: id, startTime: startTime, in: nodeMap)
        trace.notePolicy(policy, of: 0, pages: nil, by: id)
    }

    /// Records that a task is active, so that it keeps its inherited policy after its parent ends. Cheap if no task has
    /// anything to inherit.
    public func noteTask(_ id: Int32) { _ = memory.placer.tasks.placement(of: id, in: nodeMap) }

    /// The policy of a task, its own or inherited. ESRCH if there is no such task.
    public func policy(ofTask id: Int32) throws(Errno) -> MemoryPolicy {
        try memory.placer.tasks.policy(of: id, in: nodeMap)
    }

    /// The tasks that have a policy other than the default, ascending.
    public var taskPolicies: [(task: Int32, policy: MemoryPolicy)] { memory.placer.tasks.policies(in: nodeMap) }

    /// Allows a process to use a restricted node, or revokes that. ESRCH if there is no such process, or it was not
    /// allowed.
    ///
    /// - Parameters:
    ///   - isPermitted: whether the process may.
    ///   - process: the process.
    ///   - startTime: the start time of the process, to exclude a later one with the same number.
    ///   - node: the node.
    public func setPermitted(
        _ isPermitted: Bool, process: Int32, startTime: UInt64? = nil, on node: Node
    ) throws(Errno) {
        try memory.placer.tasks.setPermitted(isPermitted, process: process, startTime: startTime, on: node)
    }

    /// The processes that may use a restricted node by name, ascending.
    public func permittedProcesses(on node: Node) -> [Int32] { memory.placer.tasks.permitted(on: node) }

    // MARK: Groups

    /// The group of all tasks that are in no other group.
    public var rootGroup: ControlGroup { memory.placer.tasks.root }

    /// Makes a group. EEXIST if the name exists, ENOENT if the parent was removed, ENAMETOOLONG if its path would have
    /// PATH_MAX bytes.
    public func makeGroup(_ name: String, in parent: ControlGroup) throws(Errno) -> ControlGroup {
        try memory.placer.tasks.makeGroup(name, in: parent)
    }

    /// Removes a group. ENOENT if there is none, EBUSY while it has processes or groups.
    public func removeGroup(_ name: String, in parent: ControlGroup) throws(Errno) {
        try memory.placer.tasks.removeGroup(name, in: parent)
    }

    /// Sets the nodes that the tasks of a group may use (cpuset.mems); empty for those of the parent.
    ///
    /// - Returns: each affected group with its old and new nodes; the caller must move the memory of the tasks.
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
        let changed = zip(all, old).map { (group: $0, old: $1, new: effectiveMems(of: $0)) }.filter { $0.old != $0.new }
        for change in changed { trace.noteCpuset(change.group, change.new) }
        return changed
    }

    /// The nodes that the tasks of a group may use (cpuset.mems.effective).
    public func effectiveMems(of group: ControlGroup) -> IDSet {
        group.effectiveMems(root: nodeMap.withMemory(.cpuset))
    }

    /// The nodes that the tasks of a group may name: those of its cpuset, and those that no cpuset governs.
    public func allowedNodes(of group: ControlGroup) -> IDSet { effectiveMems(of: group).union(nodeMap.ungoverned) }

    /// Moves a process into a group; returns its old group. ESRCH if there is no such process.
    ///
    /// - Parameters:
    ///   - process: the process.
    ///   - startTime: the start time of the process, to exclude a later one with the same number.
    ///   - group: the group.
    public func attach(
        process: Int32, startTime: UInt64? = nil, to group: ControlGroup
    ) throws(Errno) -> ControlGroup {
        let old = try memory.placer.tasks.group(of: process)
        try memory.placer.tasks.attach(process, startTime: startTime, to: group, in: nodeMap)
        return old
    }

    /// The group of a process. ESRCH if there is no such process.
    public func group(ofProcess id: Int32) throws(Errno) -> ControlGroup { try memory.placer.tasks.group(of: id) }

    /// The processes of a group, ascending (cgroup.procs).
    public func processes(in group: ControlGroup) -> [Int32] { memory.placer.tasks.processes(in: group) }
}
