/// The text of topology files, part by part.
public enum TopologyText {
    /// A file.
    ///
    /// - Parameters:
    ///   - block: the size of a memory block.
    ///   - nodes: the nodes, as ``ram(_:_:cpus:_:)`` and ``coherent(_:_:_:)`` make them.
    ///   - distances: some distances.
    ///   - keys: further lines of the machine, as `possible = "0-255"`.
    public static func file(
        block: String, _ nodes: [String], distances: [(from: Int, to: Int, value: Int)] = [], keys: String...
    ) -> String {
        let lines = ["block_size = \"\(block)\""] + keys
        let distances = distances.map { "[[distance]]\nfrom = \($0.from)\nto = \($0.to)\nvalue = \($0.value)\n" }
        return lines.joined(separator: "\n") + "\n" + nodes.joined() + distances.joined()
    }

    /// A node of RAM.
    ///
    /// - Parameter keys: further lines of the node, and of tables in it.
    public static func ram(_ id: Int, _ memory: String, cpus: String? = nil, _ keys: String...) -> String {
        node(id, "ram", memory, (cpus.map { ["cpus = \"\($0)\""] } ?? []) + keys)
    }

    /// The node of a device.
    public static func coherent(_ id: Int, _ memory: String, _ keys: String...) -> String {
        node(id, "coherent", memory, keys)
    }

    private static func node(_ id: Int, _ kind: String, _ memory: String, _ keys: [String]) -> String {
        let lines = ["[[node]]", "id = \(id)", "kind = \"\(kind)\"", "memory = \"\(memory)\""] + keys
        return lines.joined(separator: "\n") + "\n"
    }
}
