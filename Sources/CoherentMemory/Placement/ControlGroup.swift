import LinuxSupport
import MachineTopology

/// A group of tasks with a set of nodes that they may use: a control group with the cpuset controller.
///
/// The root group has every task that is in no other, and allows every node. The lock of the machine's tasks guards the
/// state.
public final class ControlGroup: Sendable, Identifiable {
    /// Unique among all groups that a machine ever had.
    public let id: UInt64
    /// The parent; nil for the root.
    public var parent: ControlGroup? { above.withLock { $0 } }
    // Let go at the group's end alone.
    private let above: Mutex<ControlGroup?>
    /// Its name in the parent; empty for the root.
    let name: String
    /// Bytes of its path.
    let pathLength: Int
    /// The longest path of a group. The groups of Linux have no shorter one, whose paths are lines of files of /proc.
    static let maximumPathLength = 4095

    struct State {
        /// What was asked for (cpuset.mems); empty for what the parent has.
        var mems = IDSet()
        var children: [String: ControlGroup] = [:]
        var isRemoved = false
    }

    let state = Mutex(State())

    init(id: UInt64, parent: ControlGroup?, name: String = "", pathLength: Int = 0) {
        self.id = id
        self.name = name
        above = Mutex(parent)
        self.pathLength = pathLength
    }

    /// A chain of groups that were removed ends one by one: each within the end of the one below it would take a stack as deep
    /// as the chain.
    deinit {
        var next = above.withLock { $0.take() }
        while next != nil, isKnownUniquelyReferenced(&next) { next = next?.above.withLock { $0.take() } }
    }

    /// The requested nodes; empty if none were requested (cpuset.mems).
    public var mems: IDSet { state.withLock { $0.mems } }

    /// Whether the group was removed, and so has no tasks any more.
    public var isRemoved: Bool { state.withLock { $0.isRemoved } }

    /// The group and all below it, each before those below it.
    var tree: [ControlGroup] {
        var groups: [ControlGroup] = []
        var left = [self]
        while let group = left.popLast() {
            groups.append(group)
            left += group.children.values.sorted { $0.id > $1.id }
        }
        return groups
    }

    /// Its path, as /proc/PID/cgroup shows it, without the slash in front.
    public var path: String {
        var names: [String] = []
        var group = self
        while let parent = group.parent {
            names.append(group.name)
            group = parent
        }
        return names.reversed().joined(separator: "/")
    }

    /// The children, by name.
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
        var way: [ControlGroup] = []
        var group = self
        while let parent = group.parent {
            way.append(group)
            group = parent
        }
        return way.reversed().reduce(root) { above, group in
            let own = group.mems.intersection(above)
            return own.isEmpty ? above : own
        }
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
