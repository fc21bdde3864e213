import MachineTopology
import SystemPackage

extension MemoryPolicy {
    /// The numbers that the calls have for the modes (uapi/linux/mempolicy.h).
    private static let numbers: [(mode: Mode, number: Int32)] = [
        (.default, 0), (.prefer, 1), (.bind, 2), (.interleave, 3), (.local, 4), (.preferMany, 5),
        (.weightedInterleave, 6),
    ]
    /// MPOL_F_STATIC_NODES, MPOL_F_RELATIVE_NODES and MPOL_F_NUMA_BALANCING.
    private static let (staticNodes, relativeNodes, balancing): (Int32, Int32, Int32) = (1 << 15, 1 << 14, 1 << 13)

    /// Checks a mode with its flags (sanitize_mpol_flags()).
    ///
    /// - Throws: EINVAL for a mode or flags that there are not, or that do not go together.
    public static func check(call mode: Int32) throws(Errno) { _ = try parse(mode) }

    private static func parse(
        _ mode: Int32
    ) throws(Errno) -> (mode: Mode, isStatic: Bool, isRelative: Bool, isBalanced: Bool) {
        let flags = mode & (staticNodes | relativeNodes | balancing)
        guard let known = numbers.first(where: { $0.number == mode & ~flags })?.mode else { throw .invalidArgument }
        let isStatic = flags & staticNodes != 0
        let isRelative = flags & relativeNodes != 0
        guard !(isStatic && isRelative) else { throw .invalidArgument }
        let isBalanced = flags & balancing != 0
        guard !isBalanced || known == .bind || known == .preferMany else { throw .invalidArgument }
        return (known, isStatic, isRelative, isBalanced)
    }

    /// A policy as set_mempolicy(2) and mbind(2) take it (mpol_new() and mpol_set_nodemask() of mm/mempolicy.c).
    ///
    /// - Parameters:
    ///   - mode: MPOL_BIND and the like, with flags.
    ///   - nodes: as the caller has them.
    ///   - allowed: the nodes that the caller may use.
    /// - Throws: EINVAL for a mode or flags that there are not, nodes that the mode does not take, and none where it takes some, also
    ///   where that is so only among those allowed.
    public init(call mode: Int32, nodes: IDSet, allowed: IDSet) throws(Errno) {
        let (known, isStatic, isRelative, isBalanced) = try Self.parse(mode)
        switch known {
        case .default:
            guard nodes.isEmpty else { throw .invalidArgument }
            self = .default
            return
        case .local,
            .prefer where nodes.isEmpty:
            guard nodes.isEmpty, !isStatic, !isRelative else { throw .invalidArgument }
            self.init(mode: .local, nodes: IDSet(), flag: nil)
            return
        case .prefer, .bind, .interleave, .weightedInterleave, .preferMany: break
        }
        guard !nodes.isEmpty else { throw .invalidArgument }
        let flag: NodeFlag? = isStatic ? .static : isRelative ? .relative : nil
        let said = MemoryPolicy(mode: known, nodes: nodes, flag: flag ?? .static, isBalanced: isBalanced)
        let usable = said.nodes(within: allowed)
        guard !usable.isEmpty else { throw .invalidArgument }
        // With a flag, what the caller said is kept for other nodes that are allowed later (user_nodemask).
        self.init(mode: known, nodes: flag == nil ? usable : nodes, flag: flag, isBalanced: isBalanced)
    }

    /// The nodes that it stands for where those allowed may be used (the nodes of struct mempolicy).
    public func nodes(within allowed: IDSet) -> IDSet {
        let usable =
            switch flag {
            case .static: nodes.intersection(allowed)
            case .relative: nodes.relative(to: allowed)
            case nil: nodes
            }
        guard mode.traits.list == .one, let first = usable.min() else { return usable }
        return IDSet(first..<first + 1)
    }

    /// The same policy with the nodes that it stands for where those allowed may be used, as numa_maps tells it (mpol_to_str()).
    public func standing(within allowed: IDSet) -> MemoryPolicy { naming(nodes(within: allowed)) }

    /// The mode with its flags, as get_mempolicy(2) tells it.
    public var callMode: Int32 {
        let number = Self.numbers.first { $0.mode == mode }?.number ?? 0
        let nodeFlag: Int32 =
            switch flag {
            case .static: Self.staticNodes
            case .relative: Self.relativeNodes
            case nil: 0
            }
        return number | nodeFlag | (isBalanced ? Self.balancing : 0)
    }

    /// The same policy with another home node (set_mempolicy_home_node(2)).
    ///
    /// - Throws: EOPNOTSUPP for a mode that has none.
    public func at(home node: Int) throws(Errno) -> MemoryPolicy {
        guard mode == .bind || mode == .preferMany else { throw .notSupported }
        return MemoryPolicy(mode: mode, nodes: nodes, flag: flag, isBalanced: isBalanced, home: node)
    }

    /// The same policy with other nodes.
    func naming(_ nodes: IDSet) -> MemoryPolicy {
        MemoryPolicy(mode: mode, nodes: nodes, flag: flag, isBalanced: isBalanced, home: home)
    }
}
