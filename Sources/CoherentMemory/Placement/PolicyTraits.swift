/// What a mode of a policy does: a row of ``MemoryPolicy/Mode/traits``. Everything that depends on a mode asks a trait.
struct PolicyTraits: Sendable {
    /// Whether a policy of the mode lists nodes.
    enum NodeList: Sendable {
        /// It lists none.
        case none
        /// Exactly one. Written without, it is ``MemoryPolicy/Mode/local``.
        case one
        /// One or more.
        case some
        /// One or more. Written without, all that have memory.
        case someOrAll
    }

    /// The node whose zonelist an allocation walks.
    enum Start: Sendable {
        /// The one of the CPU that touches the page.
        case local
        /// The one listed.
        case listed
        /// Each listed one in turn, by page offset.
        case turns
        /// Each listed one in turn, for as many pages as its weight says.
        case weightedTurns
    }

    /// The nodes of the zonelist that an allocation tries.
    enum Scope: Sendable {
        /// All.
        case all
        /// Those listed.
        case listed
        /// Those listed, then all (alloc_pages_preferred_many()).
        case listedThenAll
    }

    /// The constant of include/uapi/linux/mempolicy.h.
    let constant: Int32
    let list: NodeList
    let start: Start
    let scope: Scope
    /// Whether the nodes are mapped to others when other nodes are allowed (mpol_ops.rebind; mpol_rebind_preferred() keeps them).
    let isRebound: Bool

    /// Whether the nodes take turns.
    var isInterleaving: Bool {
        switch start {
        case .local, .listed: false
        case .turns, .weightedTurns: true
        }
    }

    /// The walk through a zonelist that takes the listed nodes only; the other one takes all.
    static let listedPass = 0

    /// The walks through a zonelist, one after the other.
    var passes: ClosedRange<Int> {
        switch scope {
        case .all: 1...1
        case .listed: 0...0
        case .listedThenAll: 0...1
        }
    }
}

extension MemoryPolicy.Mode {
    /// The table of the modes.
    var traits: PolicyTraits {
        switch self {
        case .default: PolicyTraits(constant: 0, list: .none, start: .local, scope: .all, isRebound: false)
        case .prefer: PolicyTraits(constant: 1, list: .one, start: .listed, scope: .all, isRebound: false)
        case .bind: PolicyTraits(constant: 2, list: .some, start: .local, scope: .listed, isRebound: true)
        case .interleave: PolicyTraits(constant: 3, list: .someOrAll, start: .turns, scope: .all, isRebound: true)
        case .local: PolicyTraits(constant: 4, list: .none, start: .local, scope: .all, isRebound: false)
        case .preferMany: PolicyTraits(constant: 5, list: .some, start: .local, scope: .listedThenAll, isRebound: false)
        case .weightedInterleave:
            PolicyTraits(constant: 6, list: .someOrAll, start: .weightedTurns, scope: .all, isRebound: true)
        }
    }

    /// The constant of set_mempolicy(2), MPOL_DEFAULT to MPOL_WEIGHTED_INTERLEAVE.
    var constant: Int32 { traits.constant }

    /// The mode of a constant of set_mempolicy(2), without its flags; nil for an unknown one.
    public init?(constant: Int32) {
        guard let mode = Self.allCases.first(where: { $0.constant == constant }) else { return nil }
        self = mode
    }
}
