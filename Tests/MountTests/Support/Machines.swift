/// The topologies that the tests mount: small, so that filling a node is quick.
enum Machines {
    static let small = make()

    static let blockSize = 16 << 20
    static let nodeSize = 256 << 20
    static let nodePages = nodeSize / 4096

    /// A node of RAM with all CPUs and a coherent one, 256 MiB each.
    static func make(isolation: String = "exclusive", online: Bool = true) -> String {
        """
        block_size = "16M"
        [[node]]
        id = 0
        kind = "ram"
        memory = "256M"
        cpus = "all"
        [[node]]
        id = 1
        kind = "coherent"
        memory = "256M"
        device = "cdm0"
        isolation = "\(isolation)"
        online = \(online)
        [[distance]]
        from = 0
        to = 1
        value = 40

        """
    }

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
}
