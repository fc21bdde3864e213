import AttributeTree
import CoherentMemory
import MachineTopology

/// nodeN/memory_side_cache: the caches in front of a node's memory (node_add_cache() of drivers/base/node.c).
enum MemorySideCacheTree {
    /// The directory, where the topology has a cache.
    static func children(of node: CoherentMemory.Node, _ services: TreeServices) -> [Child] {
        let caches = services.machine.topology.node(node.id)?.caches ?? []
        guard !caches.isEmpty else { return [] }
        let path = "\(SystemDevice(node: node).path)/memory_side_cache"
        return [
            .directory(
                "memory_side_cache",
                SystemDevice(path, isPowerManaged: false).children(services)
                    + caches.map { cache in
                        let name = "index\(cache.level)"
                        return .directory(
                            name,
                            [.attributes(table, of: cache)]
                                + SystemDevice("\(path)/\(name)", isPowerManaged: false).children(services))
                    })
        ]
    }

    private static let table: [Attribute<MemorySideCache>] = [
        .readOnly("address_mode", summary: "The address mode of the cache: reserved.") { _ in "0x0" },
        .readOnly("indexing", summary: "How an address is mapped to a line.") {
            number(of: $0.indexing)
        },
        .readOnly("line_size", summary: "The size of a cache line.") { "\($0.lineSize)" },
        .readOnly("size", summary: "The size of the cache.") { "\($0.size)" },
        .readOnly("write_policy", summary: "When a store reaches the memory.") {
            number(of: $0.writePolicy)
        },
    ]

    /// The place of a word in its enumeration, which is the kernel's number for it.
    private static func number<Word: CaseIterable & Equatable>(of word: Word) -> String {
        let number = Word.allCases.enumerated().first { $0.element == word }?.offset ?? 0
        return "\(number)"
    }
}
