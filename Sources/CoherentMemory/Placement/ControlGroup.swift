/// A group of tasks with a set of nodes that they may use: a control group with the cpuset controller.
///
/// The root group holds every task that is in no other, and allows every node. The machine's tasks guard the state.
public final class ControlGroup: Sendable, Identifiable {
    /// Unique among the groups that a machine ever had.
    public let id: UInt64
    /// The group above, nil for the root.
    public let parent: ControlGroup?

    struct State {
        /// What was asked for (cpuset.mems); empty for what the parent has.
        var mems = IDSet()
        var children: [String: ControlGroup] = [:]
        var isRemoved = false
    }

    let state = Mutex(State())

    init(id: UInt64, parent: ControlGroup?) {
        self.id = id
        self.parent = parent
    }

    /// The nodes asked for, empty where none were (cpuset.mems).
    public var mems: IDSet { state.withLock { $0.mems } }

    /// Whether it was removed, and so holds no task any more.
    public var isRemoved: Bool { state.withLock { $0.isRemoved } }

    /// The groups below, by name.
    public var children: [String: ControlGroup] { state.withLock { $0.children } }

    /// Whether it is, or lies below, another group.
    func isWithin(_ other: ControlGroup) -> Bool {
        var group: ControlGroup? = self
        while let current = group {
            if current === other { return true }
            group = current.parent
        }
        return false
    }
}

extension ControlGroup {
    /// The nodes that tasks of the group may use: those asked for that the parent has, or what the parent has where that
    /// leaves none (cpuset.mems.effective; update_nodemasks_hier()).
    func effectiveMems(root: IDSet) -> IDSet {
        guard let parent else { return root }
        let above = parent.effectiveMems(root: root)
        let own = mems.intersection(above)
        return own.isEmpty ? above : own
    }

    /// Whether any group on the way to the root asks for nodes.
    var isConfining: Bool {
        var group: ControlGroup? = self
        while let current = group {
            if !current.mems.isEmpty { return true }
            group = current.parent
        }
        return false
    }
}
