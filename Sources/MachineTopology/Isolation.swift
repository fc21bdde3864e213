/// A name for a set of rights: the words of `nodeN/cdm/isolation` and of a topology's `isolation`.
///
/// Nothing but the setting of a node's rights asks for a word; what a node lets happen is what its ``NodeCapabilities`` say.
public struct Isolation: RawRepresentable, CaseIterable, Sendable, Hashable {
    /// The word.
    public let rawValue: String
    /// The rights that it stands for.
    public let capabilities: NodeCapabilities
    /// Who is given the node's pages, a clause.
    public let summary: String

    private init(_ word: String, _ capabilities: NodeCapabilities, _ summary: String) {
        rawValue = word
        self.capabilities = capabilities
        self.summary = summary
    }

    /// An ordinary memory-only node, in every other node's fallback list by distance.
    public static let none = Isolation(
        "none", .all.subtracting(.kernel), "in the fallback list of every node, by distance")
    /// In no other node's fallback list: a page lands here only where this node was named.
    public static let exclusive = Isolation(
        "exclusive", [.node, .anyTask, .mempolicy, .cpuset, .userMigrate, .hotunplug, .longtermPin],
        "pages land here only when the node is named")
    /// Exclusive, and only for tasks that hold the device open or were allowed by name.
    public static let restricted = Isolation(
        "restricted", exclusive.capabilities.subtracting(.anyTask),
        "moreover only for tasks that hold the device open, map it, or stand in `tasks`")
    /// No NUMA node at all: only the device file hands out the memory.
    public static let driver = Isolation(
        "driver", [], "the memory is no node's, and only the device file has pages here")
    /// A node that no service of the memory management touches (N_MEMORY_PRIVATE without capabilities): its blocks are
    /// online and its pages are counted, but only the device file hands them out.
    public static let `private` = Isolation(
        "private", .node, "the memory is a node's, but only the device file has pages here, and nothing moves them")

    /// Every word there is, in the order in which files show them.
    public static let allCases = [none, exclusive, restricted, driver, `private`]

    /// The word that is written so, if any is.
    public init?(rawValue: String) {
        guard let word = Self.allCases.first(where: { $0.rawValue == rawValue }) else { return nil }
        self = word
    }

    /// The word for exactly these rights, if any is.
    public init?(_ capabilities: NodeCapabilities) {
        guard let word = Self.allCases.first(where: { $0.capabilities == capabilities }) else { return nil }
        self = word
    }
}
