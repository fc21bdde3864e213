/// The nodes that an allocation for a node tries in turn (struct zonelist).
public struct Zonelist: Sendable, Hashable {
    /// Which of a node's lists.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// For requests that may fall back (ZONELIST_FALLBACK): the node itself, then those that are in no isolation, by
        /// distance. No other node's list has an isolated node.
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
    /// 2016 proposal's change: a coherent node under isolation stands in its own lists only).
    public func zonelists(of node: Node) -> [Zonelist] {
        let order = nodeMap.byDistance(from: node)
        return Zonelist.Kind.allCases.map { kind in
            let members = order.filter { other in
                guard other.hasMemory else { return false }
                return other === node || kind == .fallback && other.isolation == .none
            }
            return Zonelist(kind: kind, nodes: members.map(\.id))
        }
    }
}
