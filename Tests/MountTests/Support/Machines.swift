import TestSupport

/// The topologies that the tests mount: small, so that filling a node is quick.
enum Machines {
    static let small = make()
    static let large = make(ram: "1G", device: "1G")

    /// Of `small`, in bytes.
    static let blockSize = 16 << 20
    static let nodeSize = 256 << 20

    /// A node of RAM with all CPUs and a coherent one.
    static func make(
        ram: String = "256M", device: String = "256M", block: String = "16M", isolation: String = "exclusive",
        contiguous: String = "0", online: Bool = true
    ) -> String {
        TopologyText.file(
            block: block,
            [
                TopologyText.ram(0, ram, cpus: "all"),
                TopologyText.coherent(
                    1, device, "device = \"cdm0\"", "isolation = \"\(isolation)\"",
                    "contiguous = \"\(contiguous)\"", "online = \(online)"),
            ], distances: [(0, 1, 40)])
    }

    /// Two sockets of 72 CPUs each.
    static let manyCPUs = TopologyText.file(
        block: "16M", [TopologyText.ram(0, "256M", cpus: "0-71"), TopologyText.ram(1, "256M", cpus: "72-143")])

    /// Two sockets, the second without a device, and a device at each distance.
    static let four = TopologyText.file(
        block: "32M",
        [
            TopologyText.ram(0, "128M", cpus: "0"), TopologyText.ram(1, "96M", cpus: "1"),
            TopologyText.coherent(4, "64M", "device = \"cdm0\""),
            TopologyText.coherent(5, "160M", "device = \"cdm1\"", "isolation = \"none\""),
        ], distances: [(0, 4, 30), (4, 0, 35), (1, 5, 80)])

    /// One `[[node]]` of a file.
    static func node(
        _ id: Int, _ kind: String, _ memory: String, cpus: String? = nil, online: Bool = true
    ) -> String {
        let node = kind == "ram" ? TopologyText.ram(id, memory, cpus: cpus) : TopologyText.coherent(id, memory)
        return node + (online ? "" : "online = false\n")
    }

    /// Holes in the numbering, nodes without memory, without CPUs and without either, and nodes that begin offline.
    static let holes =
        "block_size = \"2M\"\n" + node(0, "ram", "32M", cpus: "0-1") + node(8, "ram", "0", cpus: "8,10")
        + node(9, "ram", "0") + node(250, "coherent", "16M") + node(251, "coherent", "8M", online: false)
        + node(252, "ram", "16M") + node(253, "ram", "8M", cpus: "4", online: false)
        + node(254, "coherent", "2M") + node(255, "coherent", "8M")
}
