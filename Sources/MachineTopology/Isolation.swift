/// A name for a set of rights: the words of `nodeN/cdm/isolation` and of a topology's `isolation`.
///
/// A word is used only to set a node's rights; the node then depends on its ``NodeCapabilities`` alone.
public struct Isolation: RawRepresentable, CaseIterable, Sendable, Hashable {
    /// The word.
    public let rawValue: String
    /// The rights of the word.
    public let capabilities: NodeCapabilities
    /// A clause about the allocations that get the node's pages.
    public let summary: String

    private init(_ word: String, _ capabilities: NodeCapabilities, _ summary: String) {
        rawValue = word
        self.capabilities = capabilities
        self.summary = summary
    }

    /// An ordinary memory-only node, in every other node's fallback list by distance.
    public static let none = Isolation(
        "none", .all.subtracting(.kernel), "the node is in the fallback list of every node, by distance")
    /// In no other node's fallback list: only allocations that name this node get its pages.
    public static let exclusive = Isolation(
        "exclusive", [.node, .anyTask, .mempolicy, .cpuset, .userMigrate, .hotunplug, .longtermPin],
        "only allocations that name the node get pages")
    /// As exclusive, and only for tasks that hold the device open or were allowed by name.
    public static let restricted = Isolation(
        "restricted", exclusive.capabilities.subtracting(.anyTask),
        "in addition, only tasks that hold the device open, map it, or are in `tasks`")
    /// Not a NUMA node: only the device file allocates the memory.
    public static let driver = Isolation(
        "driver", [], "the memory belongs to no node, and only the device file has pages here")
    /// A node that no service of the memory management uses (N_MEMORY_PRIVATE without capabilities): its blocks are
    /// online and its pages are counted, but only the device file allocates them.
    public static let `private` = Isolation(
        "private", .node,
        "the memory belongs to a node, but only the device file has pages here, and nothing moves them")

    /// All words, in the order in which files show them.
    public static let allCases = [none, exclusive, restricted, driver, `private`]

    /// The word of this spelling; nil if there is none.
    public init?(rawValue: String) {
        guard let word = Self.allCases.first(where: { $0.rawValue == rawValue }) else { return nil }
        self = word
    }

    /// The word for exactly these rights; nil if there is none.
    public init?(_ capabilities: NodeCapabilities) {
        guard let word = Self.allCases.first(where: { $0.capabilities == capabilities }) else { return nil }
        self = word
    }
}
