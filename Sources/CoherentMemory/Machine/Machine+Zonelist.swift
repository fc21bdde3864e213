import MachineTopology

/// The nodes that an allocation for a node tries in turn (struct zonelist).
public struct Zonelist: Sendable, Hashable {
    /// Which of a node's lists.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// For requests that may fall back (ZONELIST_FALLBACK): the node itself, then those that others may fall back to, by
        /// distance.
        case fallback
        /// For requests that may not (ZONELIST_NOFALLBACK, __GFP_THISNODE).
        case thisnode
    }

    /// Which of the node's lists it is.
    public var kind: Kind
    /// The ids of the nodes in the order in which they are tried; nodes without memory are left out.
    public var nodes: [Int]
}

extension Machine {
    /// The zonelists of a node at this moment, as allocations walk them (build_zonelists() of mm/page_alloc.c, with the
    /// 2016 proposal's change: a node that others may not fall back to stands in its own lists only, and of the 2026 proposal:
    /// one that policies may not name stands in none).
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
