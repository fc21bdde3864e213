import MachineTopology
import SystemPackage
import Testing

@Suite struct TopologyTests {
    @Test func theDefaultMachine() throws {
        let machine = Topology.default
        #expect(machine.blockSize == 128 << 20)
        #expect(
            machine.nodes == [
                .ram(id: 0, memory: 4 << 30, cpus: .onlineCPUs, link: Link(distance: 10)),
                .coherent(
                    id: 1, memory: 1 << 30, device: "cdm0", isolation: .exclusive, link: Link(),
                    pci: PCIDevice(address: PCIAddress("0000:01:00.0"))),
            ])
        #expect(
            machine.nodes[1].link
                == Link(readLatency: 350, writeLatency: 350, readBandwidth: 60000, writeBandwidth: 60000))
        #expect(machine.distance(from: 0, to: 1) == 40 && machine.distance(from: 1, to: 1) == 10)
        #expect(machine.nodeIDs == [0, 1])
    }

    @Test("Presets read, and print what reads back", arguments: Topology.presets)
    func presets(preset: Topology.Preset) throws {
        let machine = try Topology(preset: preset.name)
        #expect(try Topology(toml: machine.toml) == machine)
        #expect(preset.toml.hasPrefix("# "))
    }

    @Test func cachesAreReadAndPrinted() throws {
        let machine = try Topology(
            toml: """
                [[node]]
                id = 0
                kind = "ram"
                memory = "128M"
                [[node.cache]]
                size = "1M"
                [[node.cache]]
                size = 12345
                line_size = 256
                indexing = "indexed"
                write_policy = "write-through"
                [[node]]
                id = 1
                kind = "coherent"
                memory = "128M"
                [[node.cache]]
                level = 3
                size = "64M"
                indexing = "other"
                write_policy = "other"
                """)
        #expect(
            machine.nodes[0].caches == [
                MemorySideCache(size: 1 << 20),
                MemorySideCache(
                    level: 2, size: 12345, lineSize: 256, indexing: .indexed, writePolicy: .writeThrough),
            ])
        #expect(
            machine.nodes[1].caches == [
                MemorySideCache(level: 3, size: 64 << 20, indexing: .other, writePolicy: .other)
            ])
        #expect(try Topology(toml: machine.toml) == machine)
        let text = machine.toml
        #expect(text.contains("[[node.cache]]\nlevel = 2\nsize = \"12345\"\nline_size = 256\n"))
    }

    @Test("A device without an address gets one that no other has")
    func freeAddresses() throws {
        let machine = try Topology(nodes: [
            .ram(id: 0, memory: 128 << 20),
            .coherent(id: 1, memory: 0, device: "cdm1", pci: PCIDevice(address: PCIAddress("0000:01:00.0"))),
            .coherent(id: 2, memory: 0), .coherent(id: 3, memory: 0, device: "cdm700"),
        ])
        #expect(
            machine.nodes.map { $0.pci?.address?.description } == [
                nil, "0000:01:00.0", "0000:01:01.0", "02bc:01:00.0",
            ])
        #expect(try Topology(toml: machine.toml) == machine)
    }

    @Test func theLargePresets() throws {
        #expect(try Topology(preset: "large").nodes.count == 64)
        let big = try Topology(preset: "big-memory")
        #expect(big.nodes.allSatisfy { $0.memory == 1 << 40 })
    }

    @Test func everyKeyIsRead() throws {
        let machine = try Topology(
            toml: """
                block_size = "2M"
                [[node]]
                id = 7
                kind = "coherent"
                memory = "1G"
                device = "cdm3"
                isolation = "driver"
                contiguous = "256M"
                online = false
                bus = "cxl"
                pci = "00FE:2a:1f.7"
                vendor = 0x10de
                device_id = 9026
                class = 0x030200
                [node.link]
                read_latency = 1
                write_latency = 2
                read_bandwidth = 3
                write_bandwidth = 4
                [node.initiator]
                read_bandwidth = 4000000
                [[node]]
                id = 3
                kind = "ram"
                memory = 0
                cpus = "1-2"
                [[node]]
                id = 0
                kind = "ram"
                memory = "64m"
                [[distance]]
                from = 0
                to = 7
                value = 33
                [[distance]]
                from = 7
                to = 0
                value = 34
                [[distance]]
                from = 3
                to = 0
                value = 21
                """)
        let link = Link(readLatency: 1, writeLatency: 2, readBandwidth: 3, writeBandwidth: 4)
        #expect(
            machine.nodes == [
                .ram(id: 0, memory: 64 << 20, link: Link(distance: 21)),
                .ram(id: 3, memory: 0, cpus: [1, 2], link: Link(distance: 10)),
                .coherent(
                    id: 7, memory: 1 << 30, device: "cdm3", isolation: .driver, contiguous: 256 << 20, isOnline: false,
                    link: link,
                    pci: PCIDevice(
                        bus: .cxl, address: PCIAddress(domain: 0xfe, bus: 0x2a, device: 31, function: 7),
                        vendor: 0x10de, deviceID: 0x2342, deviceClass: 0x030200),
                    initiator: Link(
                        readLatency: 87, writeLatency: 87, readBandwidth: 4_000_000, writeBandwidth: 240_000)),
            ])
        #expect(machine.distance(from: 0, to: 7) == 33 && machine.distance(from: 7, to: 0) == 34)
        #expect(machine.distance(from: 0, to: 3) == 21 && machine.distance(from: 3, to: 0) == 21)
        #expect(machine.distance(from: 3, to: 7) == 40)
        #expect(try Topology(toml: machine.toml) == machine)
    }

    @Test("Memory of which no figures are given is as fast as its distance from the nearest CPU says")
    func links() throws {
        let machine = try Topology(
            toml: """
                [[node]]
                id = 0
                kind = "ram"
                memory = "1G"
                cpus = "0"
                [node.link]
                write_latency = 90
                [[node]]
                id = 1
                kind = "ram"
                memory = "1G"
                cpus = "1"
                [[node]]
                id = 2
                kind = "ram"
                memory = "1G"
                [[node]]
                id = 3
                kind = "coherent"
                memory = "1G"
                [node.link]
                read_bandwidth = 70000
                [[distance]]
                from = 0
                to = 3
                value = 80
                [[distance]]
                from = 1
                to = 3
                value = 60
                """)
        let links = machine.nodes.map(\.link)
        #expect(
            links[0] == Link(readLatency: 87, writeLatency: 90, readBandwidth: 240_000, writeBandwidth: 240_000))
        #expect(links[1] == Link(readLatency: 87, writeLatency: 87, readBandwidth: 240_000, writeBandwidth: 240_000))
        #expect(
            links[2] == Link(readLatency: 175, writeLatency: 175, readBandwidth: 120_000, writeBandwidth: 120_000))
        #expect(
            links[3] == Link(readLatency: 525, writeLatency: 525, readBandwidth: 70_000, writeBandwidth: 40_000))
        #expect(try Topology(toml: machine.toml) == machine)
        for distance in [-1, 0, 1, 10, 255, .max] {
            let link = Link(distance: distance)
            #expect(link.readLatency > 0 && link.readBandwidth > 0, "\(distance)")
        }
    }

    @Test("Memory that is nearer is faster, in every preset", arguments: Topology.presets)
    func distancesAgree(preset: Topology.Preset) throws {
        let machine = try Topology(preset: preset.name)
        for initiator in machine.nodes where !initiator.cpus.isEmpty {
            let sorted = machine.nodes.sorted {
                machine.distance(from: initiator.id, to: $0.id) < machine.distance(from: initiator.id, to: $1.id)
            }
            // Of the nodes that others are nearer to the figures tell how fast those are.
            let near = sorted.filter { node in
                let distance = machine.distance(from: initiator.id, to: node.id)
                return machine.nodes.allSatisfy {
                    $0.cpus.isEmpty || machine.distance(from: $0.id, to: node.id) >= distance
                }
            }
            #expect(near.first?.id == initiator.id)
            let latencies = near.compactMap { $0.link?.readLatency }
            #expect(latencies.count == near.count && latencies == latencies.sorted(), "node \(initiator.id)")
        }
    }

    @Test("More nodes may be possible than there are")
    func possible() throws {
        let nodes = """
            [[node]]
            id = 0
            kind = "ram"
            memory = "1G"
            [[node]]
            id = 3
            kind = "coherent"
            memory = "0"
            """
        let plain = try Topology(toml: nodes)
        #expect(plain.possible == [0, 3])
        #expect(!plain.toml.contains("possible"))
        let large = try Topology(toml: "possible = \"0-255\"\n" + nodes)
        #expect(large.possible == IDSet(0..<256) && large.nodeIDs == [0, 3])
        #expect(large.toml.contains("possible = \"0-255\"\n"))
        #expect(try Topology(toml: large.toml) == large && large != plain)
        for (text, message) in [
            ("\"1-9\"", "possible 1-9, without node 0; expected a list with every node of this topology"),
            ("\"0-9999\"", "possible \"0-9999\"; expected a list of nodes such as \"0-255\" below 1024"),
            ("\"all\"", "possible \"all\"; expected a list of nodes such as \"0-255\" below 1024"),
            ("7", "possible of type integer; expected a string"),
        ] {
            let error = #expect(throws: TopologyError.self) {
                try Topology(toml: "possible = \(text)\n" + nodes, file: "t")
            }
            #expect(error?.description == "t:1: " + message && error?.exitStatus == 65)
        }
        let error = #expect(throws: TopologyError.self) {
            try Topology(nodes: [.ram(id: 0, memory: 1 << 30)], possible: [1])
        }
        #expect(
            error?.description == "possible 1, without node 0; expected a list with every node of this topology")
    }

    @Test func inlineAndDottedTOMLIsTheSame() throws {
        let machine = try Topology(
            toml: """
                node = [
                  { id = 0, kind = "ram", memory = "1G" },
                  { id = 1, "kind" = 'coherent', memory = "1G", link.read_latency = 100 },
                ]
                """)
        #expect(machine.nodes[1].link?.readLatency == 100)
        #expect(machine.nodes[1].device == "cdm0")
    }

    @Test func devicesAreNamedInOrderAroundThoseThatHaveNames() throws {
        let machine = try Topology(
            nodes: [
                .coherent(id: 3, memory: 1 << 30), .coherent(id: 2, memory: 1 << 30, device: "cdm0"),
                .coherent(id: 1, memory: 1 << 30), .ram(id: 0, memory: 1 << 30),
            ])
        #expect(machine.nodes.map(\.device) == [nil, "cdm1", "cdm0", "cdm2"])
    }

    @Test func partsAreCheckedAsFilesAre() {
        let error = #expect(throws: TopologyError.self) {
            try Topology(nodes: [.ram(id: 0, memory: 1 << 30), .coherent(id: 1, memory: 1)])
        }
        #expect(error?.description == "node 1: memory 1; expected a multiple of the block size 128M")
    }

    @Test(
        "Sizes",
        arguments: [
            ("0", 0), ("4096", 4096), ("128K", 128 << 10), ("4g", 4 << 30), ("2T", 2 << 40),
            ("16777215T", 0xffffff << 40),
        ] as [(String, UInt64)])
    func sizes(text: String, size: UInt64) {
        #expect(UInt64(byteSize: text) == size)
        #expect(UInt64(byteSize: String(byteSize: size)) == size)
    }

    @Test(
        "No sizes",
        arguments: [
            "", "G", "4GiB", "4GB", "-1G", "+1G", "1.5G", "1 G", " 1G", "1G ", "0x10", "16777216T",
            "18446744073709551616", "٣G", "NaN",
        ])
    func noSizes(text: String) {
        #expect(UInt64(byteSize: text) == nil)
    }

    @Test func errorsOfTheCommandLineAndTheFileSystem() {
        let preset = #expect(throws: TopologyError.self) { try Topology(preset: "no\nsuch") }
        #expect(preset?.exitStatus == 64)
        #expect(preset?.description.contains("\n") == false)
        let missing = #expect(throws: TopologyError.self) { try Topology(contentsOf: "/nonexistent/t.toml") }
        #expect(missing?.exitStatus == 66)
        #expect(missing?.description == "/nonexistent/t.toml: No such file or directory; expected a topology file")
        #expect(throws: TopologyError.self) { try Topology(contentsOf: "/") }
    }
}
