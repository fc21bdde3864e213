import Foundation
import LinuxSupport
import MachineTopology
import SystemPackage
import Testing

@testable import TopologyImport

/// Machines from elsewhere. One at a time, for hwloc reads the environment.
@Suite("Imports", .serialized) struct ImportTests {
    /// A file or directory of its own.
    private func temporary(_ body: (String) throws -> Void) throws {
        let path = NSTemporaryDirectory() + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    private func imported(_ text: String, named name: String = "source") throws -> ImportedTopology {
        var result: ImportedTopology?
        try temporary { folder in
            try text.write(toFile: "\(folder)/\(name)", atomically: false, encoding: .utf8)
            result = try ImportedTopology(try TopologySource("\(folder)/\(name)"))
        }
        let machine = try #require(result)
        // The file is the machine, comments or not.
        #expect(try Topology(toml: machine.toml) == machine.topology)
        return machine
    }

    /// What an error says, without the name of the file.
    private func refusal(_ text: String) -> String? {
        do {
            _ = try imported(text)
            return nil
        } catch {
            return "\(error)".firstRange(of: "/source").map { String("\(error)"[$0.upperBound...]) }
        }
    }

    @Test("A synthetic string")
    func synthetic() throws {
        let source = try TopologySource("synthetic:package:2 [numa(memory=4GiB)] core:4 pu:2")
        let machine = try ImportedTopology(source)
        #expect(machine.topology.nodes.map(\.cpus) == [IDSet(0..<8), IDSet(8..<16)])
        #expect(machine.topology.nodes.map(\.memory) == [4 << 30, 4 << 30])
        #expect(machine.topology.nodes.allSatisfy { $0.kind == .ram })
        #expect(machine.omissions.contains { $0.contains("2 packages, 8 cores") }, "\(machine.omissions)")
        #expect(try Topology(toml: machine.toml) == machine.topology)
        #expect(throws: ImportError.self) { try ImportedTopology(.synthetic("nonsense[")) }
    }

    @Test("The text of numactl -H")
    func numactl() throws {
        let machine = try imported(
            """
            available: 3 nodes (0-1,8)
            node 0 cpus: 0 1 2 3
            node 0 size: 1023 MB
            node 0 free: 5 MB
            node 1 cpus:
            node 1 size: 0 MB
            node 1 free: 0 MB
            node 8 cpus: 8 9
            node 8 size: 2048 MB
            node 8 free: 6 MB
            node distances:
            node   0   1   8
              0:  10  11  40
              1:  11  10  40
              8:  41  40  10

            """)
        let topology = machine.topology
        #expect(topology.nodeIDs == [0, 1, 8])
        #expect(topology.nodes.map(\.cpus) == [[0, 1, 2, 3], [], [8, 9]])
        // 1023 MB are no power of two times blocks of 128 MiB, but half as many of 2.
        #expect(topology.blockSize == 2 << 20)
        #expect(topology.nodes.map(\.memory) == [1022 << 20, 0, 2048 << 20])
        #expect(machine.toml.contains("# The source has 1072693248 bytes; this is a multiple of the block size.\n"))
        #expect(topology.distance(from: 0, to: 8) == 40 && topology.distance(from: 8, to: 0) == 41)
        #expect(topology.distance(from: 0, to: 1) == 11)
    }

    @Test(
        "A text that is not of numactl -H",
        arguments: [
            ("available: 1 nodes (0)\nnode 0 cpus: x\n", ":2: unknown text; expected a CPU number"),
            ("available: 1 nodes (0)\nnode 0 size: 1 GB\n", ":2: unknown text; expected a size in MB"),
            ("available: 1 nodes (0)\nnode 0 size: 99999999999999 MB\n", ":2: unknown text; expected a size in MB"),
            ("available: 1 nodes (0)\nnonsense\n", ":2: unknown text; expected a line of numactl -H"),
            ("available: 0 nodes ()\n", ": no node; expected at least one [[node]] of kind \"ram\" with memory"),
            ("nonsense", ": not an XML file of hwloc, an archive, or the text of numactl -H"),
            ("<?xml version=\"1.0\"?><topology>", ": hwloc "),
            ("\u{1f}\u{8b}", ": "),
        ])
    func refused(text: String, reason: String) throws {
        let said = try #require(refusal(text))
        #expect(said.hasPrefix(reason) || reason == ": ", "\(said)")
    }

    @Test("Files that are not there")
    func absent() {
        #expect(throws: ImportError.self) { try TopologySource("/nonexistent") }
        #expect(throws: ImportError.self) { try ImportedTopology(.directory("/proc/self/fd")) }
    }

    /// A POWER9 with a GPU on each socket, as its firmware describes it: the GPUs' nodes have no CPUs.
    private static let gathered: [(String, String)] = [
        ("cpu/online", "0-7\n"), ("cpu/possible", "0-7\n"), ("cpu/present", "0-7\n"),
        ("node/online", "0,8,250-251\n"), ("node/possible", "0-255\n"),
        ("node/node0/cpumap", "0f\n"), ("node/node8/cpumap", "f0\n"), ("node/node250/cpumap", "00\n"),
        ("node/node251/cpumap", "00\n"),
        ("node/node0/meminfo", "Node 0 MemTotal: 1048576 kB\n"),
        ("node/node8/meminfo", "Node 8 MemTotal: 1048576 kB\n"),
        ("node/node250/meminfo", "Node 250 MemTotal: 524288 kB\n"),
        ("node/node251/meminfo", "Node 251 MemTotal: 524288 kB\n"),
        ("node/node0/distance", "10 40 80 80\n"), ("node/node8/distance", "40 10 80 80\n"),
        ("node/node250/distance", "80 80 10 80\n"), ("node/node251/distance", "80 80 80 10\n"),
        ("node/node250/access0/initiators/read_bandwidth", "68000\n"),
        ("node/node250/access0/initiators/read_latency", "350\n"),
    ]

    private func gather(in folder: String) throws {
        let files = FileManager.default
        var all = Self.gathered
        for cpu in 0..<8 {
            let package = cpu / 4
            all += [
                ("cpu/cpu\(cpu)/topology/physical_package_id", "\(package)\n"),
                ("cpu/cpu\(cpu)/topology/core_id", "\(cpu)\n"),
                ("cpu/cpu\(cpu)/topology/core_cpus", "\(String(1 << cpu, radix: 16))\n"),
                ("cpu/cpu\(cpu)/topology/package_cpus", package == 0 ? "0f\n" : "f0\n"),
            ]
        }
        for (name, text) in all {
            let path = "\(folder)/sys/devices/system/\(name)"
            try files.createDirectory(
                atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
            try text.write(toFile: path, atomically: false, encoding: .utf8)
        }
        let initiators = "\(folder)/sys/devices/system/node/node250/access0/initiators"
        try files.createSymbolicLink(atPath: "\(initiators)/node0", withDestinationPath: "../../../node0")
    }

    private func check(_ machine: ImportedTopology) throws {
        let topology = machine.topology
        #expect(topology.nodeIDs == [0, 8, 250, 251])
        #expect(topology.nodes.map(\.memory) == [1 << 30, 1 << 30, 512 << 20, 512 << 20])
        #expect(topology.nodes.map(\.cpus) == [[0, 1, 2, 3], [4, 5, 6, 7], [], []])
        #expect(topology.distance(from: 0, to: 8) == 40 && topology.distance(from: 250, to: 251) == 80)
        let link = try #require(topology.node(250)?.link)
        #expect(link.readBandwidth == 68000 && link.readLatency == 350)
        #expect(machine.toml.contains("# Guess: write_latency, write_bandwidth, from the distance.\n"))
    }

    @Test("A directory with a sys/ tree, a directory that has it, and an archive")
    func trees() throws {
        try temporary { folder in
            try gather(in: "\(folder)/machine")
            try check(ImportedTopology(TopologySource("\(folder)/machine")))
            try check(ImportedTopology(TopologySource(folder)))
            let before = try FileManager.default.contentsOfDirectory(atPath: NSTemporaryDirectory())
            for (name, option) in [("plain.tar", "-cf"), ("small.tgz", "-czf")] {
                let tar = Process()
                tar.executableURL = URL(fileURLWithPath: "/usr/bin/env")
                tar.arguments = ["tar", "-C", folder, option, "\(folder)/\(name)", "machine"]
                try tar.run()
                tar.waitUntilExit()
                try check(ImportedTopology(TopologySource("\(folder)/\(name)")))
            }
            let after = try FileManager.default.contentsOfDirectory(atPath: NSTemporaryDirectory())
            #expect(Set(after).subtracting(before).allSatisfy { !$0.hasPrefix("cdmfs-import") })
        }
    }

    @Test("This host")
    func host() throws {
        let machine = try ImportedTopology(.directory("/"))
        #expect(!machine.topology.nodes.isEmpty)
        #expect(machine.topology.nodes.reduce(into: IDSet()) { $0.formUnion($1.cpus) } == .onlineCPUs)
    }

    /// Two sockets; a GPU's memory on the first, memory without a device on both, behind a cache.
    private static let xml = """
        <?xml version="1.0" encoding="UTF-8"?>
        <!DOCTYPE topology SYSTEM "hwloc2.dtd">
        <topology version="2.0">
          <object type="Machine" os_index="0" cpuset="0x0000000f" complete_cpuset="0x0000000f" allowed_cpuset="0x0000000f" nodeset="0x0000000f" complete_nodeset="0x0000000f" allowed_nodeset="0x0000000f" gp_index="1">
            <object type="MemCache" gp_index="30" cpuset="0x0000000f" complete_cpuset="0x0000000f" nodeset="0x00000008" complete_nodeset="0x00000008" cache_size="67108864" depth="1" cache_linesize="128" cache_associativity="1" cache_type="0">
              <object type="NUMANode" os_index="3" cpuset="0x0000000f" complete_cpuset="0x0000000f" nodeset="0x00000008" complete_nodeset="0x00000008" gp_index="5" local_memory="1073741824"/>
            </object>
            <object type="Package" os_index="0" cpuset="0x00000003" complete_cpuset="0x00000003" nodeset="0x00000005" complete_nodeset="0x00000005" gp_index="2">
              <object type="NUMANode" os_index="0" cpuset="0x00000003" complete_cpuset="0x00000003" nodeset="0x00000001" complete_nodeset="0x00000001" gp_index="3" local_memory="2147483648"/>
              <object type="NUMANode" os_index="2" cpuset="0x00000003" complete_cpuset="0x00000003" nodeset="0x00000004" complete_nodeset="0x00000004" gp_index="4" local_memory="1073741824" subtype="GPUMemory">
                <info name="PCIBusID" value="0004:04:00.0"/>
              </object>
              <object type="PU" os_index="0" cpuset="0x00000001" complete_cpuset="0x00000001" nodeset="0x00000005" complete_nodeset="0x00000005" gp_index="10"/>
              <object type="PU" os_index="1" cpuset="0x00000002" complete_cpuset="0x00000002" nodeset="0x00000005" complete_nodeset="0x00000005" gp_index="11"/>
            </object>
            <object type="Package" os_index="1" cpuset="0x0000000c" complete_cpuset="0x0000000c" nodeset="0x00000002" complete_nodeset="0x00000002" gp_index="6">
              <object type="NUMANode" os_index="1" cpuset="0x0000000c" complete_cpuset="0x0000000c" nodeset="0x00000002" complete_nodeset="0x00000002" gp_index="7" local_memory="2147483648"/>
              <object type="PU" os_index="2" cpuset="0x00000004" complete_cpuset="0x00000004" nodeset="0x00000002" complete_nodeset="0x00000002" gp_index="12"/>
              <object type="PU" os_index="3" cpuset="0x00000008" complete_cpuset="0x00000008" nodeset="0x00000002" complete_nodeset="0x00000002" gp_index="13"/>
            </object>
          </object>
          <support name="discovery.pu"/>
        </topology>

        """

    @Test("An XML file: devices, RAM without CPUs, caches")
    func xmlFile() throws {
        let machine = try imported(Self.xml, named: "source.xml")
        let topology = machine.topology
        #expect(topology.nodes.map(\.kind) == [.ram, .ram, .coherent, .ram])
        #expect(topology.nodes.map(\.cpus) == [[0, 1], [2, 3], [], []])
        #expect(topology.nodes.map(\.memory) == [2 << 30, 2 << 30, 1 << 30, 1 << 30])
        #expect(topology.blockSize == 128 << 20)
        #expect(machine.toml.contains("hwloc says that it is memory of a GPU, 0004:04:00.0.\n[[node]]\nid = 2\n"))
        #expect(machine.toml.contains("because the source names no device that has it.\n[[node]]\nid = 3\n"))
        let cache = try #require(topology.node(3)?.caches.first)
        #expect(cache.size == 64 << 20 && cache.lineSize == 128 && cache.indexing == .direct)
    }

    @Test("Distances and sizes that a topology cannot have")
    func fitting() throws {
        var draft = TopologyDraft(
            origin: "x",
            nodes: [
                .init(id: 0, memory: 5 << 40, cpus: [0]), .init(id: 1, memory: 3 << 20, cpus: [1]),
                .init(id: 5000, memory: 1 << 30, cpus: []),
            ], ownsCPUs: true, distances: [[100, 210, 1], [5000, 100, 1], [1, 1, 1]])
        draft.nodes[0].link = ["read_latency": 0, "read_bandwidth": .max]
        let machine = try draft.finished(from: "x")
        #expect(machine.omissions == ["1 nodes with numbers above 1023"])
        #expect(machine.topology.nodes.map(\.memory) == [2 << 40, 0])
        #expect(machine.topology.distance(from: 0, to: 1) == 21 && machine.topology.distance(from: 1, to: 0) == 255)
        #expect(machine.topology.node(0)?.link?.readBandwidth == 1_000_000_000)
        #expect(machine.toml.contains("the most that a node can have"))
    }
}
