import MachineTopology

/// What a source says of a machine, before it is fitted to what a topology can express.
struct TopologyDraft {
    /// A node of the source.
    struct Node {
        var id: Int
        /// Bytes, not rounded.
        var memory: UInt64
        /// The CPUs that it is near to, or its own where `ownsCPUs`; nil for all.
        var cpus: IDSet
        /// What the source calls its memory, such as `MCDRAM`; nil for nothing.
        var memoryKind: String?
        /// Why it may be a device's; nil if nothing says so.
        var deviceReason: String?
        /// The performance, as far as it is given, by the keys of a topology file.
        var link: [String: UInt64] = [:]
        var caches: [MemorySideCache] = []
        /// Sentences about it, for comments.
        var remarks: [String] = []
    }

    /// What it was made of, for the first line.
    var origin: String
    var nodes: [Node]
    /// Whether `cpus` of a node are those that it has, not those that it is near to.
    var ownsCPUs: Bool
    /// The distances by the places of the nodes, row by row; empty for none.
    var distances: [[UInt64]] = []
    /// What a topology cannot express, a clause each.
    var omissions: [String] = []
}

/// A machine that was imported.
public struct ImportedTopology: Sendable {
    /// The machine.
    public let topology: Topology
    /// Its file, with comments for what was guessed.
    public let toml: String
    /// What the source says and a topology cannot express, a clause each.
    public let omissions: [String]
}

extension TopologyDraft {
    /// Memory blocks beyond which a larger block size is taken.
    private static let manyBlocks: UInt64 = 32768
    private static let largestNode: UInt64 = 2 << 40

    /// The machine that a topology can express.
    ///
    /// - Throws: an ``ImportError`` if nothing is left of it that is a machine.
    func finished(from source: String) throws(ImportError) -> ImportedTopology {
        var draft = self
        draft.dropImpossibleNodes()
        if !draft.ownsCPUs { draft.giveCPUs() }
        let blockSize = draft.blockSize
        var comments: [Int: [String]] = [:]
        var nodes: [NodeDescription] = []
        for var node in draft.nodes {
            let memory = min(node.memory, Self.largestNode) / blockSize * blockSize
            if memory != node.memory {
                let reason =
                    node.memory > Self.largestNode
                    ? "the most that a node can have" : "a multiple of the block size"
                node.remarks.append("The source has \(node.memory) bytes; this is \(reason).")
            }
            let kind = node.memoryKind.map { " (\($0))" } ?? ""
            var description: NodeDescription
            if node.cpus.isEmpty, memory > 0, let reason = node.deviceReason {
                description = .coherent(id: node.id, memory: memory)
                node.remarks.append("Guess: the memory of a coherent device, because \(reason).")
            } else {
                description = .ram(id: node.id, memory: memory, cpus: node.cpus)
                if node.cpus.isEmpty, memory > 0 {
                    node.remarks.append(
                        "Guess: ordinary memory\(kind) without CPUs, because the source names no device that has it.")
                } else if !kind.isEmpty {
                    node.remarks.append("The source says of the kind of its memory:\(kind).")
                }
            }
            if memory > 0 { description.caches = node.caches }
            nodes.append(description)
            comments[node.id] = node.remarks
        }
        let distances = draft.slit(&comments)
        do throws(TopologyError) {
            // Figures that are left out are those of the distance, which the first topology knows.
            let plain = try Topology(blockSize: blockSize, nodes: nodes, distances: distances)
            for (place, node) in draft.nodes.enumerated() where !node.link.isEmpty {
                guard var link = plain.node(node.id)?.link else { continue }
                for (name, figure) in Link.names {
                    if let value = node.link[name] {
                        link[keyPath: figure] = min(max(value, 1), Link.figures.upperBound)
                    }
                }
                nodes[place].link = link
                let missing = Link.names.map(\.name).filter { node.link[$0] == nil }
                if !missing.isEmpty {
                    comments[node.id]?.append("Guess: \(missing.joined(separator: ", ")), from the distance.")
                }
            }
            let topology = try Topology(blockSize: blockSize, nodes: nodes, distances: distances)
            let figures = draft.nodes.filter(\.link.isEmpty).map(\.id)
            var header = ["Imported from \(draft.origin)."]
            if !figures.isEmpty {
                header.append(
                    "Guess: the performance of node \(IDSet(figures)), from the distance to the nearest CPUs.")
            }
            if draft.distances.isEmpty, nodes.count > 1 {
                header.append("Guess: the distances, which the source does not have.")
            }
            let hasFigures = IDSet(draft.nodes.filter { !$0.link.isEmpty }.map(\.id))
            return ImportedTopology(
                topology: topology, toml: topology.toml(header: header, comments: comments, linksOf: hasFigures),
                omissions: draft.omissions)
        } catch {
            throw ImportError(error.kind, source, "\(error)")
        }
    }

    /// Nodes and CPUs with numbers that a machine cannot have.
    private mutating func dropImpossibleNodes() {
        let places = nodes.indices.filter { (0..<IDSet.maxNodes).contains(nodes[$0].id) }
        if places.count < nodes.count {
            omissions.append("\(nodes.count - places.count) nodes with numbers above \(IDSet.maxNodes - 1)")
            if !distances.isEmpty { distances = places.map { row in places.map { distances[row][$0] } } }
            nodes = places.map { nodes[$0] }
        }
    }

    /// Gives every CPU to one node: to the one that is near to the fewest CPUs; of several that are near to the same, to one of
    /// ordinary memory; of several such, to the first.
    private mutating func giveCPUs() {
        let order = nodes.indices.sorted { left, right in
            let (left, right) = (nodes[left], nodes[right])
            return (left.cpus.count, left.isSpecial ? 1 : 0, left.id)
                < (right.cpus.count, right.isSpecial ? 1 : 0, right.id)
        }
        var given = IDSet()
        for place in order {
            let near = nodes[place].cpus
            let own = near.subtracting(given)
            if own != near, !own.isEmpty {
                nodes[place].remarks.append(
                    "Guess: these CPUs, of \(near) that are near, because other nodes are near to the others alone.")
            } else if nodes.contains(where: { $0.id != nodes[place].id && $0.cpus == near }), !own.isEmpty {
                nodes[place].remarks.append(
                    "Guess: the CPUs, because it is the first node of ordinary memory near to them.")
            }
            given.formUnion(near)
            nodes[place].cpus = own
        }
    }

    /// The largest block size up to 2 GiB that divides every size, at least 128 MiB where that does not make the blocks too many;
    /// else one with which there are not too many.
    private var blockSize: UInt64 {
        let sizes = nodes.map { min($0.memory, Self.largestNode) }.filter { $0 > 0 }
        let total = sizes.reduce(0, +)
        var least: UInt64 = 2 << 20
        while total / least > Self.manyBlocks { least *= 2 }
        let common = sizes.reduce(UInt64(0)) { $0 | $1 }
        let divisor = common == 0 ? Topology.defaultBlockSize : UInt64(1) << common.trailingZeroBitCount
        return max(least, min(divisor, Topology.defaultBlockSize))
    }

    /// The distances as a topology has them: 10 to the node itself, 10 to 255 otherwise.
    private func slit(_ comments: inout [Int: [String]]) -> [Topology.Distance] {
        guard distances.count == nodes.count else { return [] }
        let local = nodes.indices.map { distances[$0][$0] }
        let isScaled = local.contains { $0 != 10 } || distances.joined().contains { !(10...255).contains($0) }
        func value(_ row: Int, _ column: Int) -> Int {
            guard isScaled else { return Int(distances[row][column]) }
            let scaled = Double(distances[row][column]) * 10 / Double(max(1, local.min() ?? 10))
            return min(max(Int(min(scaled, 255).rounded()), 10), 255)
        }
        if isScaled, let first = nodes.first {
            comments[first.id, default: []].append("Guess: the distances, scaled so that the shortest local one is 10.")
        }
        var list: [Topology.Distance] = []
        for row in nodes.indices {
            for column in nodes.indices.dropFirst(row + 1) {
                let (there, back) = (value(row, column), value(column, row))
                list.append(.init(from: nodes[row].id, to: nodes[column].id, value: there))
                if back != there { list.append(.init(from: nodes[column].id, to: nodes[row].id, value: back)) }
            }
        }
        return list
    }
}

extension TopologyDraft.Node {
    /// Whether it is not the ordinary memory of the CPUs that it is near to.
    fileprivate var isSpecial: Bool { deviceReason != nil || memoryKind != nil && memoryKind != "DRAM" || memory == 0 }
}
