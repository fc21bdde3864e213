/// A key of a topology file: the form of its value, and its meaning.
public struct TopologyKey: Sendable, Hashable {
    /// The tables of a file, by their headings.
    public enum Table: String, Sendable, Hashable, CaseIterable {
        /// The keys before any table: the machine as a whole.
        case machine = ""
        /// A node.
        case node = "[[node]]"
        /// The performance of a node's memory, below the node.
        case link = "[node.link]"
        /// The device of a node as an initiator of accesses, below the node.
        case initiator = "[node.initiator]"
        /// A cache in front of a node's memory, below the node.
        case cache = "[[node.cache]]"
        /// The distance between two nodes.
        case distance = "[[distance]]"
    }

    /// The table of the key.
    public let table: Table
    /// The key.
    public let name: String
    /// The form of the value: `SIZE`, `"ram"` or `"coherent"`.
    public let form: String
    /// The default; `nil` if the key is required.
    public let fallback: String?
    /// The meaning, a sentence.
    public let meaning: String

    /// All keys, in the order of a file.
    public static let all: [TopologyKey] = machine + node + link + initiator + cache + distance

    private init(_ table: Table, _ name: String, _ form: String, or fallback: String?, _ meaning: String) {
        self.table = table
        self.name = name
        self.form = form
        self.fallback = fallback
        self.meaning = meaning
    }

    private static let machine = [
        TopologyKey(
            .machine, "block_size", "SIZE", or: "128M", "The size of a memory block, a power of two from 2M to 1T."),
        TopologyKey(
            .machine, "possible", "LIST", or: "the nodes of the file",
            "The possible nodes, as in \"0-255\": those of the file and any others."),
    ]

    private static let node = [
        TopologyKey(.node, "id", "NUMBER", or: nil, "The number in nodeN, from 0 to \(IDSet.maxNodes - 1)."),
        TopologyKey(
            .node, "kind", "\"ram\" or \"coherent\"", or: nil,
            "Ordinary memory, or memory of a device that is coherent with the caches of the CPUs."),
        TopologyKey(
            .node, "memory", "SIZE", or: nil, "The size of its memory, a multiple of the block size; \"0\" for none."),
        TopologyKey(
            .node, "cpus", "LIST", or: "\"\"",
            "The CPUs of a RAM node, as in \"0-3,8\"; \"all\" for those of the host, on one node. CPUs that the host lacks are allowed."
        ),
        TopologyKey(
            .node, "device", "\"cdmN\"", or: "the first free name", "The device that a coherent node belongs to."),
        TopologyKey(
            .node, "bus", "\"pci\" or \"cxl\"", or: "\"pci\"",
            "The bus of the device of a coherent node: with \"cxl\" it is also a memory device of sys/bus/cxl."),
        TopologyKey(
            .node, "pci", "\"DDDD:BB:DD.F\"", or: "\"N:01:00.0\" for cdmN, N in hexadecimal",
            "The PCI address of the device of a coherent node; the bus is a root bus."),
        TopologyKey(
            .node, "vendor", "NUMBER", or: "0x1234",
            "The PCI vendor of the device, 1 to 0xfffe. The default belongs to no vendor; emulators use it."),
        TopologyKey(.node, "device_id", "NUMBER", or: "0x0cd0", "The PCI device id of the device, 0 to 0xffff."),
        TopologyKey(
            .node, "class", "NUMBER", or: "0x120000, a processing accelerator, or 0x050210, a CXL memory device",
            "The PCI class, subclass and programming interface of the device."),
        TopologyKey(
            .node, "isolation", Isolation.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", "),
            or: "\"exclusive\"",
            "Which allocations get pages of a coherent node: a name for the rights in nodeN/cdm/capabilities."
        ),
        TopologyKey(
            .node, "contiguous", "SIZE", or: "\"0\"",
            "The share of a coherent node that is reserved for contiguous buffers."),
        TopologyKey(
            .node, "online", "true or false", or: "true",
            "Whether its memory blocks are online at the start, or offline as after hot-add."),
        TopologyKey(
            .node, "host_node", "NUMBER", or: "chosen by the host",
            "The node of the host that provides its memory, as far as it can."),
    ]

    private static let link = Link.names.map { name, _ in
        let verb = name.prefix { $0 != "_" }
        return if name.hasSuffix("latency") {
            TopologyKey(
                .link, name, "NUMBER", or: "from the distance, 350 at 40",
                "The latency of a \(verb) by the nearest CPUs, in ns.")
        } else {
            TopologyKey(
                .link, name, "NUMBER", or: "from the distance, 60000 at 40",
                "The bandwidth of a \(verb) by the nearest CPUs, in MB/s of 1000000 bytes.")
        }
    }

    private static let initiator = Link.names.map { name, _ in
        let verb = name.prefix { $0 != "_" }
        return if name.hasSuffix("latency") {
            TopologyKey(
                .initiator, name, "NUMBER", or: "87", "The latency of a \(verb) of its own memory by the device, in ns."
            )
        } else {
            TopologyKey(
                .initiator, name, "NUMBER", or: "240000",
                "The bandwidth of a \(verb) of its own memory by the device, in MB/s.")
        }
    }

    private static let cache = [
        TopologyKey(
            .cache, "level", "NUMBER", or: "its position among the caches of the node",
            "The number in indexL, from 1 to 255; the larger, the nearer to the CPUs."),
        TopologyKey(.cache, "size", "SIZE", or: nil, "The size of the cache."),
        TopologyKey(
            .cache, "line_size", "NUMBER", or: "64", "The size of a line in bytes, a power of two up to 32768."),
        TopologyKey(
            .cache, "indexing", "\"direct\", \"indexed\" or \"other\"", or: "\"direct\"",
            "How an address is mapped to a line."),
        TopologyKey(
            .cache, "write_policy", "\"write-back\", \"write-through\" or \"other\"", or: "\"write-back\"",
            "How a store reaches the memory."),
    ]

    private static let distance = [
        TopologyKey(.distance, "from", "NUMBER", or: nil, "The node from which the distance is measured."),
        TopologyKey(.distance, "to", "NUMBER", or: nil, "The node to which the distance is measured."),
        TopologyKey(
            .distance, "value", "NUMBER", or: nil,
            "10 to 255, for both directions unless the other is given. If no distance is given, it is 40 if one of the two nodes is coherent, and 20 otherwise."
        ),
    ]
}

extension TopologyKey.Table {
    /// The keys of the table, in their order.
    public var keys: [TopologyKey] { TopologyKey.all.filter { $0.table == self } }

    /// The names under which further tables stand in it.
    var tables: [String] {
        switch self {
        case .machine: ["node", "distance"]
        case .node: ["link", "initiator", "cache"]
        case .link, .initiator, .cache, .distance: []
        }
    }
}
