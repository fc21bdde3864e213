import MachineTopology
import SystemPackage
import Testing

/// A malformed file and the one line that it must give.
struct Malformed: Sendable, CustomTestStringConvertible {
    let line: Int
    let found: String
    let expected: String
    let text: String

    init(_ line: Int, _ found: String, _ expected: String, _ text: String) {
        (self.line, self.found, self.expected, self.text) = (line, found, expected, text)
    }

    var testDescription: String { "\(line): \(found)" }
}

/// Six lines: a good machine to which each case adds a fault.
private let good = """
    block_size = "128M"
    [[node]]
    id = 0
    kind = "ram"
    memory = "1G"
    cpus = "0-1"

    """
private let device = good + "[[node]]\nid = 1\nkind = \"coherent\"\nmemory = \"1G\"\n"
private let ram = good + "[[node]]\nid = 1\nkind = \"ram\"\nmemory = \"1G\"\n"
private let size = "a size such as \"512M\" or \"4G\""
private let pciAddress = "an address such as \"0000:01:00.0\", in hexadecimal"
private let cpuList = "a CPU list such as \"0-3,8\" below 8192, \"all\" or \"\""

private let wrongValues: [Malformed] = [
    Malformed(1, "no node", "at least one [[node]] of kind \"ram\" with memory", ""),
    Malformed(1, "no node", "at least one [[node]] of kind \"ram\" with memory", "block_size = \"128M\""),
    Malformed(
        1, "no RAM", "at least one [[node]] of kind \"ram\" with memory",
        "[[node]]\nid = 0\nkind = \"coherent\"\nmemory = \"1G\""),
    Malformed(
        7, "unknown key \"nodes\"", "block_size, possible, node, distance",
        "# 1\n# 2\n# 3\n# 4\n# 5\n# 6\nnodes = 1"),
    Malformed(
        11, "unknown key \"speed\"",
        "id, kind, memory, cpus, device, bus, pci, vendor, device_id, class, isolation, contiguous, online, host_node, link, initiator, cache",
        device + "speed = 1"),
    Malformed(11, "bus \"isa\"", "one of \"pci\", \"cxl\"", device + "bus = \"isa\""),
    Malformed(11, "pci \"1:0.0\"", pciAddress, device + "pci = \"1:0.0\""),
    Malformed(11, "pci \"0000:01:20.0\"", pciAddress, device + "pci = \"0000:01:20.0\""),
    Malformed(11, "pci \"0000:01:00.8\"", pciAddress, device + "pci = \"0000:01:00.8\""),
    Malformed(11, "pci \"0000-01-00-0\"", pciAddress, device + "pci = \"0000-01-00-0\""),
    Malformed(11, "pci of type integer", "a string", device + "pci = 1"),
    Malformed(11, "vendor 65535", "an integer from 1 to 65534", device + "vendor = 0xffff"),
    Malformed(11, "device_id -1", "an integer from 0 to 65535", device + "device_id = -1"),
    Malformed(11, "class 16777216", "an integer from 0 to 16777215", device + "class = 0x1000000"),
    Malformed(
        16, "pci 0000:01:00.0, which node 1 has already", "a different address for each node",
        device
            + "pci = \"0000:01:00.0\"\n[[node]]\nid = 2\nkind = \"coherent\"\nmemory = \"1G\"\npci = \"0000:01:00.0\""),
    Malformed(
        12, "read_latency 0", "an integer from 1 to 1000000000", device + "[node.initiator]\nread_latency = 0"),
    Malformed(
        12, "unknown key \"pace\"", "read_latency, write_latency, read_bandwidth, write_bandwidth",
        device + "[node.initiator]\npace = 1"),
    Malformed(7, "initiator on a ram node", "this key on coherent nodes only", good + "[node.initiator]"),
    Malformed(7, "bus on a ram node", "this key on coherent nodes only", good + "bus = \"pci\""),
    Malformed(7, "vendor on a ram node", "this key on coherent nodes only", good + "vendor = 1"),
    Malformed(
        12, "unknown key \"latency\"", "read_latency, write_latency, read_bandwidth, write_bandwidth",
        device + "[node.link]\nlatency = 1"),
    Malformed(
        13, "unknown key \"ways\"", "level, size, line_size, indexing, write_policy",
        device + "[[node.cache]]\nsize = 64\nways = 4"),
    Malformed(11, "cache without size", "the key size", device + "[[node.cache]]\nlevel = 1"),
    Malformed(12, "size 0", "a size above 0", device + "[[node.cache]]\nsize = 0"),
    Malformed(13, "level 0", "an integer from 1 to 255", device + "[[node.cache]]\nsize = 64\nlevel = 0"),
    Malformed(
        15, "a second cache of level 1", "a different level for each cache",
        device + "[[node.cache]]\nsize = 64\n[[node.cache]]\nsize = 64\nlevel = 1"),
    Malformed(
        13, "line_size 48", "a power of two from 1 to 32768", device + "[[node.cache]]\nsize = 64\nline_size = 48"),
    Malformed(
        13, "line_size 65536", "an integer from 1 to 32768",
        device + "[[node.cache]]\nsize = 64\nline_size = 65536"),
    Malformed(
        13, "indexing \"hashed\"", "one of \"direct\", \"indexed\", \"other\"",
        device + "[[node.cache]]\nsize = 64\nindexing = \"hashed\""),
    Malformed(
        13, "write_policy \"back\"", "one of \"write-back\", \"write-through\", \"other\"",
        device + "[[node.cache]]\nsize = 64\nwrite_policy = \"back\""),
    Malformed(
        12, "a cache on a node without memory", "caches on nodes with memory only",
        good + "[[node]]\nid = 1\nkind = \"ram\"\nmemory = 0\n[[node.cache]]\nsize = 64"),
    Malformed(9, "unknown key \"cost\"", "from, to, value", good + "\n[[distance]]\ncost = 3"),
    Malformed(
        8, "a second node with id 0", "a different id for each node",
        good + "[[node]]\nid = 0\nkind = \"ram\"\nmemory = \"1G\""),
    Malformed(8, "id 1024", "an integer from 0 to 1023", good + "[[node]]\nid = 1024"),
    Malformed(8, "id -1", "an integer from 0 to 1023", good + "[[node]]\nid = -1"),
    Malformed(8, "id of type string", "an integer from 0 to 1023", good + "[[node]]\nid = \"0\""),
    Malformed(8, "id of type floating-point number", "an integer from 0 to 1023", good + "[[node]]\nid = nan"),
    Malformed(7, "node without id", "the key id", good + "[[node]]\nkind = \"ram\""),
    Malformed(7, "node without kind", "the key kind", good + "[[node]]\nid = 1"),
    Malformed(7, "node without memory", "the key memory", good + "[[node]]\nid = 1\nkind = \"ram\""),
    Malformed(9, "kind \"gpu\"", "one of \"ram\", \"coherent\"", good + "[[node]]\nid = 1\nkind = \"gpu\""),
    Malformed(4, "memory \"4GiB\"", size, "[[node]]\nid = 0\nkind = \"ram\"\nmemory = \"4GiB\""),
    Malformed(4, "memory \"-1G\"", size, "[[node]]\nid = 0\nkind = \"ram\"\nmemory = \"-1G\""),
    Malformed(4, "memory \"1.5G\"", size, "[[node]]\nid = 0\nkind = \"ram\"\nmemory = \"1.5G\""),
    Malformed(
        4, "memory \"99999999999999999999\"", size,
        "[[node]]\nid = 0\nkind = \"ram\"\nmemory = \"99999999999999999999\""),
    Malformed(4, "memory -4096", size, "[[node]]\nid = 0\nkind = \"ram\"\nmemory = -4096"),
    Malformed(4, "memory of type floating-point number", size, "[[node]]\nid = 0\nkind = \"ram\"\nmemory = inf"),
    Malformed(
        4, "memory of type bool", size,
        "[[node]]\nid = 0\nkind = \"ram\"\nmemory = true"),
    Malformed(
        4, "memory 100M", "a multiple of the block size 128M", "[[node]]\nid = 0\nkind = \"ram\"\nmemory = \"100M\""),
    Malformed(4, "memory 3T", "at most 2T on one node", "[[node]]\nid = 0\nkind = \"ram\"\nmemory = \"3T\""),
    Malformed(1, "block_size 3M", "a power of two from 2M to 1T", good.replacing("128M", with: "3M")),
    Malformed(1, "block_size 1M", "a power of two from 2M to 1T", good.replacing("128M", with: "1M")),
    Malformed(1, "block_size 2T", "a power of two from 2M to 1T", good.replacing("128M", with: "2T")),
    Malformed(1, "block_size 0", "a power of two from 2M to 1T", good.replacing("128M", with: "0")),
    Malformed(6, "cpus \"0-\"", cpuList, good.replacing("0-1", with: "0-")),
    Malformed(6, "cpus \"8192\"", cpuList, good.replacing("0-1", with: "8192")),
    Malformed(6, "cpus \"N\"", cpuList, good.replacing("0-1", with: "N")),
    Malformed(11, "CPU 1, which node 0 has already", "each CPU on one node only", ram + "cpus = \"1-3\""),
    Malformed(
        12, "a second node with cpus \"all\"", "at most one",
        ram.replacing("0-1", with: "all") + "online = true\ncpus = \"all\""),
    Malformed(11, "cpus on a coherent node", "this key on ram nodes only", device + "cpus = \"5\""),
    Malformed(11, "device \"gpu0\"", "cdmN, with N from 0 to 1023", device + "device = \"gpu0\""),
    Malformed(11, "device \"cdm01\"", "cdmN, with N from 0 to 1023", device + "device = \"cdm01\""),
    Malformed(11, "device \"cdm0/../x\\n\"", "cdmN, with N from 0 to 1023", device + "device = \"cdm0/../x\\n\""),
    Malformed(
        16, "device \"cdm0\", which node 1 has already", "a different device for each node",
        device + "device = \"cdm0\"\n[[node]]\nid = 2\nkind = \"coherent\"\nmemory = \"1G\"\ndevice = \"cdm0\""),
    Malformed(11, "device on a ram node", "this key on coherent nodes only", ram + "device = \"cdm0\""),
    Malformed(11, "isolation on a ram node", "this key on coherent nodes only", ram + "isolation = \"none\""),
    Malformed(11, "contiguous on a ram node", "this key on coherent nodes only", ram + "contiguous = \"0\""),
    Malformed(12, "read_latency 0", "an integer from 1 to 1000000000", ram + "[node.link]\nread_latency = 0"),
    Malformed(
        11, "isolation \"strict\"", "one of \"none\", \"exclusive\", \"restricted\", \"driver\", \"private\"",
        device + "isolation = \"strict\""),
    Malformed(11, "contiguous 2G", "at most the memory of the node, 1G", device + "contiguous = \"2G\""),
    Malformed(11, "host_node -1", "an integer from 0 to 1023", device + "host_node = -1"),
    Malformed(11, "host_node of type string", "an integer from 0 to 1023", device + "host_node = \"0\""),
    Malformed(11, "online of type string", "true or false", device + "online = \"yes\""),
    Malformed(11, "link of type integer", "a table", device + "link = 3"),
    Malformed(12, "read_latency 0", "an integer from 1 to 1000000000", device + "[node.link]\nread_latency = 0"),
    Malformed(10, "value 9", "an integer from 10 to 255", good + "[[distance]]\nfrom = 0\nto = 0\nvalue = 9"),
    Malformed(10, "value 256", "an integer from 10 to 255", good + "[[distance]]\nfrom = 0\nto = 0\nvalue = 256"),
    Malformed(10, "distance 20 from node 0 to itself", "10", good + "[[distance]]\nfrom = 0\nto = 0\nvalue = 20"),
    Malformed(9, "distance to node 5", "a node of this topology", good + "[[distance]]\nfrom = 0\nto = 5\nvalue = 20"),
    Malformed(
        8, "distance from node 5", "a node of this topology", good + "[[distance]]\nfrom = 5\nto = 0\nvalue = 20"),
    Malformed(7, "distance without value", "the key value", good + "[[distance]]\nfrom = 0\nto = 0"),
    Malformed(
        16, "a second distance from node 0 to node 1", "one distance for each pair of nodes",
        device + "[[distance]]\nfrom = 0\nto = 1\nvalue = 20\n[[distance]]\nfrom = 0\nto = 1\nvalue = 30"),
    Malformed(1, "node of type table", "[[node]]", "[node]\nid = 0"),
    Malformed(1, "node of type integer", "[[node]]", "node = [1]"),
]

/// The text of a machine of RAM nodes with 2T each.
private func manyNodes(_ count: Int) -> String {
    (0..<count).map { "[[node]]\nid = \($0)\nkind = \"ram\"\nmemory = \"2T\"\n" }.joined()
}

@Suite struct TopologyErrorTests {
    @Test("A wrong value is one line with what was found and expected", arguments: wrongValues)
    func wrongValue(malformed: Malformed) {
        let error = #expect(throws: TopologyError.self) { try Topology(toml: malformed.text, file: "t.toml") }
        #expect(error?.description == "t.toml:\(malformed.line): \(malformed.found); expected \(malformed.expected)")
        #expect(error?.exitStatus == 65)
    }

    @Test(
        "What is not even TOML names its line",
        arguments: [
            (2, "block_size = \"128M\"\nnode"), (1, "[[node]"), (1, "a = "), (1, "a = 1 2"), (2, "a = 1\na = 2"),
            (1, "x = 99999999999999999999999"), (1, "\u{7f}ELF"), (1, "a = \"x\n\n"), (1, "]"),
            (1, "a = " + String(repeating: "[", count: 100_000)), (1, String(repeating: "x", count: 100 << 10)),
            // Where the library asserts what it should look for.
            (1, "[~]"), (2, "a = 1\n[[ é]]"), (1, "[\n"), (1, "[[[a]]]"),
            (5, "a = [\n[+1],\n['''\n[~''']] # [~\n[=]"), (1, "a = \"x\n[~]"),
            (3, "a = \"\"\"\n[~ \\\"\"\"\"\n[#"), (1, "a = [}"), (1, "a = [1, }"), (1, "a = { b = [[}"),
            (1, "a = [\u{2028}1]"), (1, "a = [\u{a0}}"), (1, "a = [\u{85}]"),
            // A key that has a value is no table.
            (2, "a = [1]\n[a]\nb = 1"), (2, "a = [1]\n[[a]]\nb = 1"), (3, "a = [1]\n[a.b]\nc = 1"),
        ])
    func malformed(line: Int, text: String) {
        let error = #expect(throws: TopologyError.self) { try Topology(toml: text, file: "t.toml") }
        let description = error?.description ?? ""
        #expect(description.hasPrefix("t.toml:\(line): "))
        #expect(!description.contains("\n") && description.utf8.count < 400)
        #expect(description.contains("malformed TOML") && error?.exitStatus == 65, "\(description)")
        #expect(!description.contains("\\'") && !description.contains("\\\""), "\(description)")
    }

    @Test(
        "Bytes that are no text",
        arguments: [
            ([0x61, 0x0a, 0x00], 2, "a NUL byte; expected text"),
            ([0x23, 0xff, 0x0a], 1, "a byte that is not UTF-8; expected text in UTF-8"),
            ([0x23, 0x0a, 0x23, 0x0a, 0xc3, 0x28], 3, "a byte that is not UTF-8; expected text in UTF-8"),
            (Array("a = \"\\u0000\"".utf8), 1, "an escaped NUL; expected text"),
        ])
    func bytes(bytes: [UInt8], line: Int, message: String) {
        let error = #expect(throws: TopologyError.self) { try Topology(toml: bytes, file: "t.toml") }
        #expect(error?.description == "t.toml:\(line): \(message)")
    }

    @Test func whatOnlyLooksLikeAHeaderIsNone() {
        let text = "x = [[\n[+1], # [~]\n[-1]], \"[~\", '[~',\n[{ }],\n\"\"\"\n[~]\\\"\"\"\"\", '''\n[~]''']\n"
        let error = #expect(throws: TopologyError.self) { try Topology(toml: text, file: "t.toml") }
        #expect(error?.description.contains("unknown key \"x\"") == true, "\(error?.description ?? "")")
    }

    @Test func memoryOfTheWholeMachineIsLimited() throws {
        let limit = try Topology(toml: manyNodes(64))
        #expect(limit.nodes.count == 64)
        let error = #expect(throws: TopologyError.self) { try Topology(toml: manyNodes(65), file: "t.toml") }
        #expect(
            error?.description == "t.toml:260: more than 128T of memory in all; expected at most 128T in one machine")
    }

    @Test func linesAreFoundInAnyNotation() {
        let text = """
            node = [
              { id = 0, kind = "ram", memory = "1G" }, # ] }
              { "id" = 1, kind = 'coherent', memory = "1G",
                device = \"""
            cdm0\""", link.read_latency = 0 },
            ]
            """.replacing("memory = \"1G\",\n", with: "memory = \"1G\", ").replacing(
                "\"\"\"\ncdm0\"\"\"", with: "\"cdm0\"")
        let error = #expect(throws: TopologyError.self) { try Topology(toml: text, file: "t.toml") }
        #expect(error?.description == "t.toml:3: read_latency 0; expected an integer from 1 to 1000000000")
        let multiline = "x = \"\"\"\n\\\"\"\"\\\"\n\"\"\"\n'y z' = ['a', [\n1]]\nbad.key = 1\n"
        let unknown = #expect(throws: TopologyError.self) {
            try Topology(toml: multiline + "[node.x]\n", file: "t.toml")
        }
        #expect(unknown?.place == "t.toml:1")
    }

    @Test func aLongWordIsCut() {
        let text = "[[node]]\nid = 0\nkind = \"\(String(repeating: "k", count: 100 << 10))\""
        let error = #expect(throws: TopologyError.self) { try Topology(toml: text, file: "t.toml") }
        #expect((error?.description.utf8.count ?? .max) < 200)
    }
}
