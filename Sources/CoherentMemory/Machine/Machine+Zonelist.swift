import MachineTopology

/// The nodes that an allocation for a node tries in turn (struct zonelist).
public struct Zonelist: Sendable, Hashable {
    /// The kind of a zonelist.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// For requests that may fall back (ZONELIST_FALLBACK): the node itself, then the nodes that allow fallback, by
        /// distance.
        case fallback
        /// For requests that may not fall back (ZONELIST_NOFALLBACK, __GFP_THISNODE).
        case thisnode
    }

    /// The kind of the list.
    public var kind: Kind
    /// The ids of the nodes in the order in which they are tried; nodes without memory are left out.
    public var nodes: [Int]
}

extension Machine {
    /// The present zonelists of a node, as allocations use them (build_zonelists() of mm/page_alloc.c, with the change of
    /// the 2016 proposal: a node that does not allow fallback is in its own lists only, and of the 2026 proposal: one that
    /// policies may not name is in none).
    public func zonelists(of node: Node) -> [Zonelist] {
        let order = nodeMap.byDistance(from: node)
        return Zonelist.Kind.allCases.map { kind in
            let members = order.filter { other in
                guard other.hasMemory else { return false }
                return other.allows(other === node ? .mempolicy : .fallback) && (other === node || kind == .fallback)
            }
            return Zonelist(kind: kind, nodes: members.map(\.id))
        }
    }
}
