/// The description of a simulated machine: its nodes, their distances, and the memory block size.
///
/// A topology is always valid: each initializer (``init(blockSize:nodes:distances:possible:)``, ``init(toml:file:)-(StringProtocol,_)``,
/// ``init(contentsOf:)``) checks it.
public struct Topology: Sendable, Hashable {
    /// A distance of the file: `[[distance]]`.
    public struct Distance: Sendable, Hashable {
        /// The node from which the distance is measured.
        public var from: Int
        /// The node to which the distance is measured.
        public var to: Int
        /// 10 to the node itself, otherwise 10 to 255, as in ACPI's SLIT.
        public var value: Int

        /// The distance `value` from node `from` to node `to`.
        public init(from: Int, to: Int, value: Int) {
            self.from = from
            self.to = to
            self.value = value
        }
    }

    /// The size of a memory block in bytes, a power of two from 2 MiB to 1 TiB.
    public let blockSize: UInt64

    /// The nodes, in ascending order of their ids.
    public let nodes: [NodeDescription]

    /// The ids of the possible nodes: those of ``nodes``, and further ones if the topology has them.
    public let possible: IDSet

    let distances: DistanceTable

    /// The default memory block size: 128 MiB.
    public static let defaultBlockSize: UInt64 = 128 << 20

    /// A topology from its parts. Coherent nodes without a device get the first free names of `cdm0`, `cdm1`, …
    ///
    /// - Throws: a ``TopologyError`` that names the node and the error.
    public init(
        blockSize: UInt64 = defaultBlockSize, nodes: [NodeDescription], distances: [Distance] = [],
        possible: IDSet? = nil
    ) throws(TopologyError) {
        try self.init(blockSize: blockSize, nodes: nodes, distances: distances, possible: possible) { place in
            switch place {
            case .machine: nil
            case .node(let index, _), .link(let index, _), .initiator(let index, _), .cache(let index, _, _):
                "node \(nodes[index].id)"
            case .distance(let index, _): "distance from \(distances[index].from) to \(distances[index].to)"
            }
        }
    }

    /// The one initializer behind the others; `locate` says where a wrong value stands.
    init(
        blockSize: UInt64, nodes: [NodeDescription], distances: [Distance], possible: IDSet?,
        locate: (TopologyPlace) -> String?
    ) throws(TopologyError) {
        do throws(TopologyFault) {
            try TopologyRules(blockSize: blockSize, nodes: nodes, distances: distances, possible: possible).check()
        } catch {
            throw TopologyError(.data, at: locate(error.place), found: error.found, expected: error.expected)
        }
        self.blockSize = blockSize
        self.possible = possible ?? IDSet(nodes.lazy.map(\.id))
        let table = DistanceTable(nodes, distances)
        self.distances = table
        self.nodes = Topology.namingDevices(nodes.sorted { $0.id < $1.id }).map { node in
            var node = node
            node.link = node.link ?? table.link(of: node.id)
            return node
        }
    }

    /// The node with an id; `nil` if there is none.
    public func node(_ id: Int) -> NodeDescription? { nodes.first { $0.id == id } }

    /// The ids of all nodes.
    public var nodeIDs: IDSet { IDSet(nodes.lazy.map(\.id)) }

    /// The distance between two nodes by their ids, as in `nodeN/distance`: 10 to itself; otherwise the given one, or
    /// the one given for the other direction, or 40 if one of the two is coherent, or 20.
    public func distance(from: Int, to: Int) -> Int { distances.distance(from: from, to: to) }

    private static func namingDevices(_ nodes: [NodeDescription]) -> [NodeDescription] {
        let taken = Set(nodes.compactMap(\.device))
        var free = (0...).lazy.map { "cdm\($0)" }.filter { !taken.contains($0) }.makeIterator()
        let addresses = Set(nodes.compactMap { $0.pci?.address })
        return nodes.map { node in
            var node = node
            if node.kind == .coherent, node.device == nil { node.device = free.next() }
            if let device = node.device, node.pci?.address == nil {
                var pci = node.pci ?? PCIDevice()
                pci.address = PCIDevice.freeAddress(ofDevice: Int(device.dropFirst(3)) ?? 0, taken: addresses)
                node.pci = pci
            }
            return node
        }
    }
}
