/// The nodes that an allocation for a node tries in turn (struct zonelist).
public struct Zonelist: Sendable, Hashable {
    /// The kind of a zonelist.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// For requests that may fall back (ZONELIST_FALLBACK): the node itself, then nodes without isolation, by
        /// distance. No other node's list has an isolated node.
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
    /// The present zonelists of a node, as allocations use them (build_zonelists() of mm/page_alloc.c, with the 2016
    /// proposal's change: a coherent node under isolation is in its own lists only).
    public func zonelists(of node: Node) -> [Zonelist] {
        let order = (0..<nodes.count).map { nodes[Int(node.fallback[$0])] }
        return Zonelist.Kind.allCases.map { kind in
            let members = order.filter { other in
                guard other.hasMemory else { return false }
                return other === node || kind == .fallback && other.isolation == .none
            }
            return Zonelist(kind: kind, nodes: members.map(\.id))
        }
    }
}
