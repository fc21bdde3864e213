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
        online: Bool = true
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
