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
        """
        block_size = "\(block)"
        [[node]]
        id = 0
        kind = "ram"
        memory = "\(ram)"
        cpus = "all"
        [[node]]
        id = 1
        kind = "coherent"
        memory = "\(device)"
        device = "cdm0"
        isolation = "\(isolation)"
        contiguous = "\(contiguous)"
        online = \(online)
        [[distance]]
        from = 0
        to = 1
        value = 40

        """
    }

    /// Two sockets of 72 CPUs each.
    static let manyCPUs = """
        block_size = "16M"
        [[node]]
        id = 0
        kind = "ram"
        memory = "256M"
        cpus = "0-71"
        [[node]]
        id = 1
        kind = "ram"
        memory = "256M"
        cpus = "72-143"

        """

    /// Two sockets, the second without a device, and a device at each distance.
    static let four = """
        block_size = "32M"
        [[node]]
        id = 0
        kind = "ram"
        memory = "128M"
        cpus = "0"
        [[node]]
        id = 1
        kind = "ram"
        memory = "96M"
        cpus = "1"
        [[node]]
        id = 4
        kind = "coherent"
        memory = "64M"
        device = "cdm0"
        [[node]]
        id = 5
        kind = "coherent"
        memory = "160M"
        device = "cdm1"
        isolation = "none"
        [[distance]]
        from = 0
        to = 4
        value = 30
        [[distance]]
        from = 4
        to = 0
        value = 35
        [[distance]]
        from = 1
        to = 5
        value = 80

        """

    /// One `[[node]]` of a file.
    static func node(
        _ id: Int, _ kind: String, _ memory: String, cpus: String? = nil, online: Bool = true
    ) -> String {
        let words = (cpus.map { "cpus = \"\($0)\"\n" } ?? "") + (online ? "" : "online = false\n")
        return "[[node]]\nid = \(id)\nkind = \"\(kind)\"\nmemory = \"\(memory)\"\n\(words)"
    }

    /// Holes in the numbering, nodes without memory, without CPUs and without either, and nodes that begin offline.
    static let holes =
        "block_size = \"2M\"\n" + node(0, "ram", "32M", cpus: "0-1") + node(8, "ram", "0", cpus: "8,10")
        + node(9, "ram", "0") + node(250, "coherent", "16M") + node(251, "coherent", "8M", online: false)
        + node(252, "ram", "16M") + node(253, "ram", "8M", cpus: "4", online: false)
        + node(254, "coherent", "2M") + node(255, "coherent", "8M")
}
