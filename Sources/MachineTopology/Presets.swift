extension Topology {
    /// A built-in topology: a name and the text of its file.
    public struct Preset: Sendable, Hashable {
        /// The name of the preset.
        public let name: String
        /// The TOML file, with a comment that explains the machine.
        public let toml: String
    }

    /// The built-in topologies, the default first.
    public static let presets: [Preset] =
        [
            Preset(name: "default", toml: defaultMachine),
            Preset(name: "two-socket", toml: twoSocket),
            Preset(name: "dual-device", toml: dualDevice),
            Preset(name: "large", toml: large),
            Preset(name: "big-memory", toml: bigMemory),
        ] + machines

    /// The default machine: the preset `default`.
    public static let `default`: Topology = {
        do throws(TopologyError) {
            return try Topology(preset: "default")
        } catch {
            fatalError("the default topology: \(error)")
        }
    }()

    /// The preset of a name.
    ///
    /// - Throws: a ``TopologyError`` of kind ``TopologyError/Kind/usage`` if there is no preset of that name.
    public init(preset name: String) throws(TopologyError) {
        try self.init(toml: try Topology.preset(name).toml, file: name)
    }

    /// The preset of a name, as text; throws as ``init(preset:)``.
    public static func preset(_ name: String) throws(TopologyError) -> Preset {
        guard let preset = presets.first(where: { $0.name == name }) else {
            let names = presets.map(\.name).joined(separator: ", ")
            throw TopologyError(.usage, at: nil, found: "unknown preset \(clip(name))", expected: "one of \(names)")
        }
        return preset
    }
}

private let defaultMachine = """
    # One node of RAM with all CPUs, and one coherent device. The device gets only pages that are allocated on it
    # explicitly. If a node has no [node.link], its speed follows from the distance to the nearest CPUs: 87 ns and
    # 240 GB/s at 10 (the RAM), 350 ns and 60 GB/s at 40 (the device).
    #
    #     node 0  RAM 4G, all CPUs
    #       |  40
    #     node 1  coherent 1G, cdm0, exclusive
    block_size = "128M"

    [[node]]
    id = 0
    kind = "ram"
    memory = "4G"
    cpus = "all"

    [[node]]
    id = 1
    kind = "coherent"
    memory = "1G"
    device = "cdm0"

    """

private let twoSocket = """
    # Two sockets with a device each: near memory, far memory, and device memory at two distances. An access to the
    # device of the other socket also crosses the link between the sockets, so its distance is 60.
    #
    #     node 0  RAM 4G, CPU 0  --- 21 ---  node 1  RAM 4G, CPU 1
    #       |  40                              |  40
    #     node 2  coherent 1G, cdm0          node 3  coherent 1G, cdm1
    block_size = "128M"

    [[node]]
    id = 0
    kind = "ram"
    memory = "4G"
    cpus = "0"

    [[node]]
    id = 1
    kind = "ram"
    memory = "4G"
    cpus = "1"

    [[node]]
    id = 2
    kind = "coherent"
    memory = "1G"
    device = "cdm0"

    [[node]]
    id = 3
    kind = "coherent"
    memory = "1G"
    device = "cdm1"

    [[distance]]
    from = 0
    to = 1
    value = 21

    [[distance]]
    from = 0
    to = 3
    value = 60

    [[distance]]
    from = 1
    to = 2
    value = 60

    [[distance]]
    from = 2
    to = 3
    value = 80

    """

private let dualDevice = """
    # One socket with two different devices. The small one has fast memory for allocations that name it. The large
    # one, behind a cache, extends the memory of the machine and gets the overflow of the RAM. The devices reach each
    # other only through the socket. The RAM is two channels of DDR5-5600, 90 GB/s at most. The memory of the small
    # device is on the package of the device: its bandwidth is higher, and so is its latency.
    #
    #     node 1  coherent 512M, cdm0, exclusive  --- 30 ---  node 0  RAM 2G, all CPUs
    #     node 2  coherent 4G, cdm1, none         --- 50 ---
    block_size = "128M"

    [[node]]
    id = 0
    kind = "ram"
    memory = "2G"
    cpus = "all"
    [node.link]
    read_latency = 90
    write_latency = 90
    read_bandwidth = 75000
    write_bandwidth = 65000

    [[node]]
    id = 1
    kind = "coherent"
    memory = "512M"
    device = "cdm0"
    isolation = "exclusive"
    [node.link]
    read_latency = 250
    write_latency = 200
    read_bandwidth = 200000
    write_bandwidth = 180000

    [[node]]
    id = 2
    kind = "coherent"
    memory = "4G"
    device = "cdm1"
    isolation = "none"
    [node.link]
    read_latency = 500
    write_latency = 550
    read_bandwidth = 30000
    write_bandwidth = 25000
    [[node.cache]]
    size = "64M"
    line_size = 128
    indexing = "direct"
    write_policy = "write-back"

    [[distance]]
    from = 0
    to = 1
    value = 30

    [[distance]]
    from = 0
    to = 2
    value = 50

    [[distance]]
    from = 1
    to = 2
    value = 70

    """

/// 32 sockets and a device on each: node S is the RAM of a socket, node 32 + S the device's memory.
private let large: String = {
    var text = """
        # A large machine: 32 sockets (nodes 0 to 31, 1G and one CPU each) with a device each (nodes 32 to 63, 512M
        # each). The distance of a socket to its own device is 40, to all other devices 60.
        block_size = "64M"

        """
    for socket in 0..<32 {
        text += "\n[[node]]\nid = \(socket)\nkind = \"ram\"\nmemory = \"1G\"\ncpus = \"\(socket)\"\n"
    }
    for device in 0..<32 {
        text += "\n[[node]]\nid = \(32 + device)\nkind = \"coherent\"\nmemory = \"512M\"\ndevice = \"cdm\(device)\"\n"
    }
    for socket in 0..<32 {
        for device in 0..<32 where device != socket {
            text += "\n[[distance]]\nfrom = \(socket)\nto = \(32 + device)\nvalue = 60\n"
        }
    }
    return text
}()

private let bigMemory = """
    # Big memory: a terabyte of RAM and a terabyte on the device, in blocks of 2G, as on Linux for this size. Pages
    # that were never touched take no memory of the host.
    #
    #     node 0  RAM 1T, all CPUs
    #       |  40
    #     node 1  coherent 1T, cdm0, exclusive
    block_size = "2G"

    [[node]]
    id = 0
    kind = "ram"
    memory = "1T"
    cpus = "all"

    [[node]]
    id = 1
    kind = "coherent"
    memory = "1T"
    device = "cdm0"

    """
