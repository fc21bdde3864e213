/// What get_mempolicy(2) is asked for (uapi/linux/mempolicy.h).
struct QueryFlags: OptionSet {
    let rawValue: UInt64

    /// MPOL_F_NODE: a node in place of a mode.
    static let node = QueryFlags(rawValue: 1)
    /// MPOL_F_ADDR: the policy of an address.
    static let address = QueryFlags(rawValue: 2)
    /// MPOL_F_MEMS_ALLOWED: the nodes that the caller may use.
    static let allowed = QueryFlags(rawValue: 4)

    static let all: QueryFlags = [.node, .address, .allowed]
}

/// What becomes of pages that are there, by mbind(2) and move_pages(2) (uapi/linux/mempolicy.h).
struct MoveFlags: OptionSet {
    let rawValue: UInt64

    /// MPOL_MF_STRICT: it is an error where pages are elsewhere, or stay there.
    static let strict = MoveFlags(rawValue: 1)
    /// MPOL_MF_MOVE: they move.
    static let move = MoveFlags(rawValue: 2)
    /// MPOL_MF_MOVE_ALL: also those that others map.
    static let moveAll = MoveFlags(rawValue: 4)

    /// Of an argument of 32 bits.
    init(argument: UInt64) { rawValue = argument & 0xffff_ffff }

    init(rawValue: UInt64) { self.rawValue = rawValue }
}
