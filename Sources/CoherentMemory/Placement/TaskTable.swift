import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// What is in force for one task: its policy and its cpuset, ready for the fault path.
final class TaskPlacement: Sendable {
    let process: Int32
    let policy: EffectivePolicy
    /// The nodes of its cpuset, and those that no cpuset governs; nil for the root's.
    let allowed: NodeMask?
    let epoch: UInt64
    let validUntil: ContinuousClock.Instant

    init(
        process: Int32, policy: EffectivePolicy, allowed: NodeMask?, epoch: UInt64,
        validUntil: ContinuousClock.Instant
    ) {
        self.process = process
        self.policy = policy
        self.allowed = allowed
        self.epoch = epoch
        self.validUntil = validUntil
    }
}

/// The policies and groups of tasks.
///
/// A fault asks by thread, and finds the answer of the last fault as long as nothing changed. Locks: taken within a
/// buffer's, and within it only those of groups and nodes.
final class TaskTable: Sendable {
    /// A policy with the nodes that were allowed when it was last bound, for it follows them, and whose it is.
    private struct TaskPolicy: Sendable {
        var policy: MemoryPolicy
        var allowed: IDSet
        var process: Int32
        var group: ControlGroup

        /// What becomes of the policy when other nodes are allowed (mpol_rebind_task()). One change after the other, as
        /// Linux does it: what two nodes became one in stays one. Nodes that are only preferred stay what they are
        /// (mpol_rebind_preferred()), and static and relative ones are made of what the user said at each fault.
        mutating func rebind(to allowed: IDSet, in map: NodeMap) {
            guard self.allowed != allowed else { return }
            if policy.mode.traits.isRebound, policy.flag == nil {
                // What no cpuset governs stays in every mask.
                let kept = policy.nodes.intersection(map.ungoverned)
                let nodes = policy.nodes.subtracting(kept).remapped(from: self.allowed, to: allowed).union(kept)
                policy = policy.naming(nodes.isEmpty ? allowed : nodes)
            }
            self.allowed = allowed
        }
    }

    private struct State {
        var directory: any TaskDirectory = NoTasks()
        var policies = Inheritance<TaskPolicy>()
        var groups = Inheritance<ControlGroup>()
        /// Tasks that may use a restricted node without holding its device open, by the node's place.
        var permitted: [Int: [Int32: UInt64]] = [:]
        /// What a trace says of threads, in place of all that.
        var recorded: [Int32: (policy: MemoryPolicy, allowed: IDSet?)] = [:]
    }

    /// A number is not given to another task for at least so long, in practice; so long is a cached answer trusted.
    private static let trust = Duration.seconds(1)
    private static let shardCount = 16

    let root = ControlGroup(id: 0, parent: nil)
    private let state = Mutex(State())
    private let nextGroup = Atomic<UInt64>(1)
    /// Whether any task has a policy or a group, or a node is restricted: otherwise faults need not ask.
    private let isActive = Atomic(false)
    private let observer = Mutex<(@Sendable (Int32, MemoryPolicy, IDSet?) -> Void)?>(nil)
    private let epoch = Atomic<UInt64>(0)
    private let shards = (0..<shardCount).map { _ in Shard() }

    /// A part of the cached answers, so that threads that fault at once seldom meet.
    private final class Shard: Sendable {
        let known = Mutex<[Int32: TaskPlacement]>([:])
    }

    /// Sets who is told what is in force for a thread, each time that it is looked up anew.
    func setObserver(_ observer: @escaping @Sendable (Int32, MemoryPolicy, IDSet?) -> Void) {
        self.observer.withLock { $0 = observer }
    }

    /// Sets what is in force for a thread as a trace has it.
    func setRecorded(_ policy: MemoryPolicy, allowed: IDSet?, of id: Int32) {
        state.withLock { $0.recorded[id] = (policy, allowed) }
        activate()
    }

    func setDirectory(_ directory: any TaskDirectory) { state.withLock { $0.directory = directory } }

    var directory: any TaskDirectory { state.withLock { $0.directory } }

    /// Makes every cached answer void.
    func changed() { epoch.wrappingAdd(1, ordering: .releasing) }

    /// Other nodes have memory, or groups ask for other nodes: policies follow, below one group or everywhere
    /// (update_tasks_nodemask()).
    func nodesChanged(below changed: ControlGroup? = nil, in map: NodeMap) {
        let available = map.withMemory(.cpuset)
        state.withLock { state in
            var effective: [UInt64: IDSet] = [:]
            state.policies.update { own in
                guard changed.map(own.group.isWithin) ?? true else { return }
                let allowed = effective[own.group.id] ?? own.group.effectiveMems(root: available)
                effective[own.group.id] = allowed
                own.rebind(to: allowed, in: map)
            }
        }
        if changed == nil { self.changed() } else { activate() }
    }

    /// What is in force for a thread, nil where that is nothing.
    func placement(of id: Int32, in map: NodeMap) -> TaskPlacement? {
        guard id > 0, isActive.load(ordering: .acquiring) else { return nil }
        let now = ContinuousClock.now
        let epoch = epoch.load(ordering: .acquiring)
        let shard = Int(id) % Self.shardCount
        if let known = shards[shard].known.withLock({ $0[id] }), known.epoch == epoch, now < known.validUntil {
            return known
        }
        guard let (found, policy, allowed) = resolve(id, epoch: epoch, until: now + Self.trust, in: map) else {
            return nil
        }
        observer.withLock { $0 }?(id, policy, allowed)
        shards[shard].known.withLock { known in
            // Tasks that ended leave their answers behind.
            if known.count > 4096 { known = known.filter { $0.value.epoch == epoch && $0.value.validUntil > now } }
            known[id] = found
        }
        return found
    }

    private func resolve(
        _ id: Int32, epoch: UInt64, until: ContinuousClock.Instant, in map: NodeMap
    ) -> (TaskPlacement, MemoryPolicy, IDSet?)? {
        state.withLock { state in
            if let (policy, allowed) = state.recorded[id] {
                let placement = TaskPlacement(
                    process: id, policy: map.effective(policy), allowed: allowed.map(map.mask), epoch: epoch,
                    validUntil: until)
                return (placement, policy, allowed)
            }
            let directory = state.directory
            guard let task = directory.task(id) else { return nil }
            let group = Self.group(of: task, in: &state) ?? root
            let allowed = group.isConfining ? group.effectiveMems(root: map.withMemory(.cpuset)) : nil
            let policy = Self.policy(of: id, task, in: group, &state, map)
            let usable = allowed.map { $0.union(map.ungoverned) }
            let placement = TaskPlacement(
                process: task.process, policy: map.effective(policy), allowed: usable.map(map.mask), epoch: epoch,
                validUntil: until)
            return (placement, policy, usable)
        }
    }

    /// The policy of a task, own or inherited, bound to the nodes that are allowed now.
    private static func policy(
        of id: Int32, _ task: TaskDescription, in group: ControlGroup, _ state: inout State, _ map: NodeMap
    ) -> MemoryPolicy {
        guard var own = state.policies.value(of: id, task, in: state.directory) else { return .default }
        own.process = task.process
        own.group = group
        own.rebind(to: group.effectiveMems(root: map.withMemory(.cpuset)), in: map)
        state.policies.replace(own, of: id)
        return own.policy
    }

    private static func group(of task: TaskDescription, in state: inout State) -> ControlGroup? {
        guard !state.groups.isEmpty, let process = state.directory.task(task.process) else { return nil }
        return state.groups.value(of: task.process, process, in: state.directory)
    }

    // MARK: Policies

    /// A task of the directory: if need be, only the one that began then. ESRCH for none.
    private static func task(
        _ id: Int32, startTime: UInt64? = nil, in directory: any TaskDirectory
    ) throws(Errno) -> TaskDescription {
        guard id > 0, let task = directory.task(id), startTime.map({ $0 == task.startTime }) ?? true else {
            throw .noSuchProcess
        }
        return task
    }

    /// Sets the policy of a thread, and of what it makes from now on.
    func setPolicy(_ policy: MemoryPolicy, of id: Int32, startTime: UInt64?, in map: NodeMap) throws(Errno) {
        try state.withLock { state throws(Errno) in
            let task = try Self.task(id, startTime: startTime, in: state.directory)
            let group = Self.group(of: task, in: &state) ?? root
            let allowed = group.effectiveMems(root: map.withMemory(.cpuset))
            let usable = allowed.union(map.ungoverned)
            // Nodes must be left (mpol_set_nodemask(), and mpol_ops.create); relative ones always are.
            guard policy.nodes.isEmpty || policy.flag == .relative || !policy.nodes.isDisjoint(with: usable) else {
                throw .invalidArgument
            }
            let nodes = policy.flag == nil ? policy.nodes.intersection(usable) : policy.nodes
            state.policies.set(
                TaskPolicy(
                    policy: policy.naming(nodes), allowed: allowed,
                    process: task.process, group: group),
                of: id, task, in: state.directory)
        }
        activate()
    }

    /// The policy of a thread: its own, or inherited. ESRCH where there is no such task.
    func policy(of id: Int32, in map: NodeMap) throws(Errno) -> MemoryPolicy {
        try state.withLock { state throws(Errno) in
            let task = try Self.task(id, in: state.directory)
            let group = Self.group(of: task, in: &state) ?? root
            return Self.policy(of: id, task, in: group, &state, map)
        }
    }

    /// The tasks that have a policy other than the default, ascending.
    func policies(in map: NodeMap) -> [(task: Int32, policy: MemoryPolicy)] {
        let tasks = state.withLock { $0.policies.tasks }.sorted()
        return tasks.compactMap { id in
            guard let policy = try? policy(of: id, in: map), policy.mode != .default else { return nil }
            return (id, policy)
        }
    }

    /// The nodes that a task may use. ESRCH where there is no such task.
    func allowedNodes(of id: Int32, in map: NodeMap) throws(Errno) -> IDSet {
        try group(of: id).effectiveMems(root: map.withMemory(.cpuset))
    }

    // MARK: Groups

    func makeGroup(_ name: String, in parent: ControlGroup) throws(Errno) -> ControlGroup {
        let length = parent.pathLength + (parent.pathLength > 0 ? 1 : 0) + name.utf8.count
        guard length <= ControlGroup.maximumPathLength else { throw .fileNameTooLong }
        let group = ControlGroup(
            id: nextGroup.wrappingAdd(1, ordering: .relaxed).oldValue, parent: parent, name: name, pathLength: length)
        try parent.state.withLock { state throws(Errno) in
            guard !state.isRemoved else { throw .noSuchFileOrDirectory }
            guard state.children[name] == nil else { throw .fileExists }
            state.children[name] = group
        }
        return group
    }

    func removeGroup(_ name: String, in parent: ControlGroup) throws(Errno) {
        guard let group = parent.children[name] else { throw .noSuchFileOrDirectory }
        try group.state.withLock { state throws(Errno) in
            guard !state.isRemoved else { throw .noSuchFileOrDirectory }
            guard state.children.isEmpty else { throw .resourceBusy }
            state.isRemoved = true
        }
        // Looked at only now that no task comes in any more.
        guard processes(in: group).isEmpty else {
            group.state.withLock { $0.isRemoved = false }
            throw .resourceBusy
        }
        parent.state.withLock { _ = $0.children.removeValue(forKey: name) }
    }

    /// Something has changed of which faults must ask from now on.
    func activate() {
        isActive.store(true, ordering: .releasing)
        changed()
    }

    /// Puts a process into a group. ESRCH where there is none, ENODEV where the group has gone.
    func attach(_ id: Int32, startTime: UInt64?, to group: ControlGroup, in map: NodeMap) throws(Errno) {
        try state.withLock { state throws(Errno) in
            let thread = try Self.task(id, startTime: startTime, in: state.directory)
            let task = try Self.task(thread.process, in: state.directory)
            guard !group.state.withLock({ $0.isRemoved }) else { throw .operationNotSupportedByDevice }
            state.groups.set(group, of: thread.process, task, in: state.directory)
            let allowed = group.effectiveMems(root: map.withMemory(.cpuset))
            state.policies.update { own in
                guard own.process == thread.process else { return }
                own.group = group
                own.rebind(to: allowed, in: map)
            }
        }
        activate()
    }

    /// The group of a process. ESRCH where there is none.
    func group(of id: Int32) throws(Errno) -> ControlGroup {
        try state.withLock { state throws(Errno) in
            let task = try Self.task(id, in: state.directory)
            return Self.group(of: task, in: &state) ?? root
        }
    }

    /// The processes of a group, ascending (cgroup.procs).
    func processes(in group: ControlGroup) -> [Int32] {
        let directory = directory
        return directory.processes.sorted().filter { id in
            state.withLock { state in
                guard let task = directory.task(id) else { return false }
                return (Self.group(of: task, in: &state) ?? root) === group
            }
        }
    }

    // MARK: Restricted nodes

    /// Allows a process the use of a restricted node, or takes that back. ESRCH where there is none.
    func setPermitted(_ isPermitted: Bool, process id: Int32, startTime: UInt64?, on node: Node) throws(Errno) {
        try state.withLock { state throws(Errno) in
            guard isPermitted else {
                guard state.permitted[node.index]?.removeValue(forKey: id) != nil else { throw .noSuchProcess }
                return
            }
            let thread = try Self.task(id, startTime: startTime, in: state.directory)
            let task = try Self.task(thread.process, in: state.directory)
            state.permitted[node.index, default: [:]][thread.process] = task.startTime
        }
    }

    /// The processes allowed by name that still live, ascending.
    func permitted(on node: Node) -> [Int32] {
        state.withLock { state in
            let living = (state.permitted[node.index] ?? [:]).filter {
                state.directory.task($0.key)?.startTime == $0.value
            }
            state.permitted[node.index] = living
            return living.keys.sorted()
        }
    }

    /// Whether a task may use a restricted node: it stands in the list, or holds the device open.
    func mayUse(_ node: Node, task id: Int32) -> Bool {
        let directory = directory
        guard id > 0, let thread = directory.task(id) else { return false }
        return mayUse(node, process: thread.process)
    }

    /// The same where the process is known, which is cheaper.
    func mayUse(_ node: Node, process: Int32) -> Bool {
        guard process > 0 else { return false }
        let (directory, startTime) = state.withLock { ($0.directory, $0.permitted[node.index]?[process]) }
        if let startTime, directory.task(process)?.startTime == startTime { return true }
        return directory.holdsDeviceOpen(of: node, process: process)
    }
}
