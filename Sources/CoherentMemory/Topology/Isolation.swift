/// Who may be given pages of a coherent node: the words of `nodeN/cdm/isolation`.
public enum Isolation: String, Sendable, Hashable, CaseIterable {
    /// An ordinary memory-only node, in every other node's fallback list by distance.
    case none
    /// In no other node's fallback list: only allocations that name this node get its pages.
    case exclusive
    /// As exclusive, and only for tasks that hold the device open or were allowed by name.
    case restricted
    /// Not a NUMA node: only the device file allocates the memory.
    case driver
}
