/// A cache in front of a node's memory, which adds no memory, as in `nodeN/memory_side_cache/indexL`.
public struct MemorySideCache: Sendable, Hashable {
    /// How an address is mapped to a line (`enum cache_indexing`).
    public enum Indexing: String, Sendable, Hashable, CaseIterable {
        /// To one line.
        case direct
        /// To one of several lines (set associative).
        case indexed
        /// Neither.
        case other
    }

    /// How a store reaches the memory (`enum cache_write_policy`).
    public enum WritePolicy: String, Sendable, Hashable, CaseIterable {
        /// When the line leaves the cache.
        case writeBack = "write-back"
        /// At once.
        case writeThrough = "write-through"
        /// Neither.
        case other
    }

    /// The number in `indexL`, 1 to 255; a larger number is nearer to the CPUs.
    public var level: Int
    /// The size in bytes, above 0.
    public var size: UInt64
    /// The size of a cache line in bytes, a power of two up to 32768.
    public var lineSize: Int
    /// How an address is mapped to a line.
    public var indexing: Indexing
    /// How a store reaches the memory.
    public var writePolicy: WritePolicy

    /// A cache of `size` bytes.
    public init(
        level: Int = 1, size: UInt64, lineSize: Int = 64, indexing: Indexing = .direct,
        writePolicy: WritePolicy = .writeBack
    ) {
        self.level = level
        self.size = size
        self.lineSize = lineSize
        self.indexing = indexing
        self.writePolicy = writePolicy
    }

    static let levels = 1...255
    static let lineSizes = 1...32_768
}

extension MemorySideCache {
    /// A `[[node.cache]]`; the level is its place among those of its node unless it says another.
    init(_ table: TOMLReader, place: Int) throws(TopologyError) {
        try table.allow(.cache)
        let size = try table.required("size", table.size("size"), in: "cache")
        self.init(level: try table.integer("level", in: Self.levels) ?? place + 1, size: size)
        if let lineSize = try table.integer("line_size", in: Self.lineSizes) { self.lineSize = lineSize }
        if let indexing: Indexing = try table.word("indexing") { self.indexing = indexing }
        if let writePolicy: WritePolicy = try table.word("write_policy") { self.writePolicy = writePolicy }
    }

    /// The lines of a topology file.
    var toml: [String] {
        [
            "[[node.cache]]", "level = \(level)", "size = \"\(String(byteSize: size))\"", "line_size = \(lineSize)",
            "indexing = \"\(indexing.rawValue)\"", "write_policy = \"\(writePolicy.rawValue)\"",
        ]
    }
}

extension TopologyRules {
    func checkCaches(of node: NodeDescription, at index: Int) throws(TopologyFault) {
        var levels: Set<Int> = []
        for (place, cache) in node.caches.enumerated() {
            func fail(_ key: String, _ found: String, _ expected: String) throws(TopologyFault) -> Never {
                throw TopologyFault(
                    place: .cache(node: index, index: place, key: key), found: found, expected: expected)
            }
            guard node.memory > 0 else {
                try fail("size", "a cache on a node without memory", "caches on nodes with memory only")
            }
            guard MemorySideCache.levels.contains(cache.level) else {
                try fail("level", "level \(cache.level)", "an integer from 1 to 255")
            }
            guard levels.insert(cache.level).inserted else {
                try fail("level", "a second cache of level \(cache.level)", "a different level for each cache")
            }
            guard cache.size > 0 else { try fail("size", "size 0", "a size above 0") }
            guard MemorySideCache.lineSizes.contains(cache.lineSize), cache.lineSize.nonzeroBitCount == 1 else {
                try fail("line_size", "line_size \(cache.lineSize)", "a power of two from 1 to 32768")
            }
        }
    }
}
