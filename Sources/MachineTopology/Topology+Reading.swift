import LinuxSupport
public import SystemPackage
import TOMLKit

extension Topology {
    /// Reads a topology from TOML text.
    ///
    /// - Parameters:
    ///   - text: the text.
    ///   - file: the name of the text in messages.
    /// - Throws: a ``TopologyError`` with `file`, the line, the error and the expectation.
    public init(toml text: some StringProtocol, file: String = "topology") throws(TopologyError) {
        try self.init(toml: Array(text.utf8), file: file)
    }

    /// Reads a topology from the bytes of a TOML file. See ``init(toml:file:)``.
    public init(toml bytes: [UInt8], file: String) throws(TopologyError) {
        let file = file.unicodeScalars.map { $0.escaped(asASCII: false) }.joined()
        self = try TOMLDocument.read(bytes, file: file) { root throws(TopologyError) in try Topology(root) }
    }

    /// Reads a topology file.
    ///
    /// - Throws: a ``TopologyError``, of kind ``TopologyError/Kind/noInput`` if the file cannot be read.
    public init(contentsOf path: FilePath) throws(TopologyError) {
        let bytes: [UInt8]
        do throws(Errno) {
            bytes = try SmallFile.read(path, limit: TOMLDocument.maxSize + 1)
        } catch {
            throw TopologyError(.noInput, at: "\(path)", found: "\(error)", expected: "a topology file")
        }
        guard bytes.count <= TOMLDocument.maxSize else {
            let size = String(byteSize: UInt64(TOMLDocument.maxSize))
            throw TopologyError(.data, at: "\(path)", found: "a file of more than \(size)", expected: "a topology")
        }
        try self.init(toml: bytes, file: "\(path)")
    }

    private init(_ root: TOMLReader) throws(TopologyError) {
        try root.allow(.machine)
        var nodes: [NodeDescription] = []
        var hasAllCPUs = false
        let tables = try root.tables("node")
        guard tables.count <= IDSet.maxNodes else {
            throw root.document.error(
                tables[IDSet.maxNodes].path, found: "more than \(IDSet.maxNodes) nodes",
                expected: "at most \(IDSet.maxNodes)")
        }
        for table in tables {
            nodes.append(try NodeDescription(table))
            guard table.table["cpus"]?.string == "all" else { continue }
            guard !hasAllCPUs else {
                throw table.error("cpus", found: "a second node with cpus \"all\"", expected: "at most one")
            }
            hasAllCPUs = true
        }
        let distanceTables = try root.tables("distance")
        var distances: [Distance] = []
        for table in distanceTables { distances.append(try Distance(table)) }
        // A figure that a node's link leaves out is the one of its distance.
        let reach = DistanceTable(nodes, distances)
        for (index, table) in tables.enumerated() {
            guard let figures = try table.table("link") else { continue }
            nodes[index].link = try Link(figures, of: .link, leftOut: reach.link(of: nodes[index].id))
        }
        try self.init(
            blockSize: try root.size("block_size") ?? Topology.defaultBlockSize, nodes: nodes, distances: distances,
            possible: try root.ids("possible", below: IDSet.maxNodes, such: "a list of nodes such as \"0-255\"")
        ) { place in
            let path: [String] =
                switch place {
                case .machine(let key): key.map { [$0] } ?? []
                case .node(let index, let key): tables[index].path + [key]
                case .link(let index, let key): tables[index].path + ["link", key]
                case .initiator(let index, let key): tables[index].path + ["initiator", key]
                case .cache(let node, let index, let key): tables[node].path + ["cache", "\(index)", key]
                case .distance(let index, let key): distanceTables[index].path + [key]
                }
            return "\(root.document.file):\(root.document.locator.line(of: path))"
        }
    }
}

extension NodeDescription {
    fileprivate init(_ table: TOMLReader) throws(TopologyError) {
        try table.allow(.node)
        let id = try table.required("id", table.integer("id", in: 0...IDSet.maxNodes - 1), in: "node")
        let kind: Kind = try table.required("kind", table.word("kind"), in: "node")
        let memory = try table.required("memory", table.size("memory"), in: "node")
        let cpus = try table.cpus("cpus")
        let isOnline = try table.bool("online") ?? true
        switch kind {
        case .ram:
            for key in ["device", "isolation", "contiguous", "initiator"] + PCIDevice.keys where table.has(key) {
                throw table.error(key, found: "\(key) on a ram node", expected: "this key on coherent nodes only")
            }
            self = .ram(id: id, memory: memory, cpus: cpus, isOnline: isOnline)
        case .coherent:
            self = .coherent(
                id: id, memory: memory, device: try table.string("device"),
                isolation: try table.word("isolation") ?? .exclusive, contiguous: try table.size("contiguous") ?? 0,
                isOnline: isOnline, pci: try PCIDevice(table))
            self.cpus = cpus
            initiator = try table.table("initiator").map { figures throws(TopologyError) in
                try Link(figures, of: .initiator, leftOut: Link(distance: 10))
            }
        }
        hostNode = try table.integer("host_node", in: 0...IDSet.maxNodes - 1)
        for (place, cache) in try table.tables("cache").enumerated() {
            caches.append(try MemorySideCache(cache, place: place))
        }
    }
}

extension Link {
    fileprivate init(_ table: TOMLReader, of kind: TopologyKey.Table, leftOut: Link) throws(TopologyError) {
        try table.allow(kind)
        self = leftOut
        for (key, figure) in Link.names {
            if let value = try table.integer(key, in: 1...1_000_000_000) { self[keyPath: figure] = UInt64(value) }
        }
    }
}

extension Topology.Distance {
    fileprivate init(_ table: TOMLReader) throws(TopologyError) {
        try table.allow(.distance)
        let ids = 0...IDSet.maxNodes - 1
        self.init(
            from: try table.required("from", table.integer("from", in: ids), in: "distance"),
            to: try table.required("to", table.integer("to", in: ids), in: "distance"),
            value: try table.required("value", table.integer("value", in: 10...255), in: "distance"))
    }
}

extension TOMLReader {
    /// A CPU list, "all" for those of the host, empty where there is none.
    fileprivate func cpus(_ key: String) throws(TopologyError) -> IDSet {
        if try string(key) == "all" { return .onlineCPUs }
        return try ids(key, below: IDSet.maxCPUs, such: "a CPU list such as \"0-3,8\"", or: ", \"all\" or \"\"") ?? []
    }

    /// A list of ids; nil where there is none.
    fileprivate func ids(
        _ key: String, below limit: Int, such form: String, or others: String = ""
    ) throws(TopologyError) -> IDSet? {
        guard let text = try string(key) else { return nil }
        do throws(Errno) {
            // The kernel's own words for "the last one" depend on the host.
            guard text.utf8.allSatisfy({ !($0 | 0x20 >= 0x61) && $0 != 0x0a }) else { throw .invalidArgument }
            return try IDSet(list: text, limit: limit)
        } catch {
            throw self.error(
                key, found: "\(key) \(clip(text))", expected: "\(form) below \(limit)\(others)")
        }
    }
}
