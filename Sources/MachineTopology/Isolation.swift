/// Who may be given pages of a coherent node: the words of `nodeN/cdm/isolation`.
public enum Isolation: String, Sendable, Hashable, CaseIterable {
    /// An ordinary memory-only node, in every other node's fallback list by distance.
    case none
    /// In no other node's fallback list: a page lands here only where this node was named.
    case exclusive
    /// Exclusive, and only for tasks that hold the device open or were allowed by name.
    case restricted
    /// No NUMA node at all: only the device file hands out the memory.
    case driver
}
