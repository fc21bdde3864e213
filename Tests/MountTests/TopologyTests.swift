import Foundation
import Testing

/// A topology that must be refused, and the line the refusal must name (0: any).
struct Malformed: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let text: String
    let line: Int

    init(_ description: String, line: Int = 0, _ text: String) {
        testDescription = description
        self.text = text
        self.line = line
    }

    /// A well-formed machine with one line replaced (or put at its end).
    init(_ description: String, replacing old: String, with new: String) {
        var lines = Malformed.good.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let index = lines.firstIndex(of: old) ?? lines.count - 1
        lines[index] = new
        self.init(description, line: index + 1, lines.joined(separator: "\n"))
    }

    static let good = """
        block_size = "16M"
        [[node]]
        id = 0
        kind = "ram"
        memory = "256M"
        cpus = "all"
        [[node]]
        id = 1
        kind = "coherent"
        memory = "128M"
        device = "cdm0"
        isolation = "exclusive"
        online = true
        [node.link]
        read_latency = 350
        [[distance]]
        from = 0
        to = 1
        value = 40

        """
}

extension Mounts {
    /// Bad topologies are refused in one line that names the file and the line.
    @Suite("Malformed topologies")
    struct TopologyTests {
        static let cases = [
            Malformed("empty", ""), Malformed("only a comment", "# nothing\n"),
            Malformed("no TOML", line: 2, "block_size = \"16M\"\nnode node node\n"),
            Malformed("an open string", line: 1, "block_size = \"16M\n"),
            Malformed(
                "a block size that is no power of two", replacing: "block_size = \"16M\"", with: "block_size = \"24M\""),
            Malformed("a block size that is too small", replacing: "block_size = \"16M\"", with: "block_size = \"1M\""),
            Malformed("a block size that is no size", replacing: "block_size = \"16M\"", with: "block_size = \"big\""),
            Malformed("a block size that is a list", replacing: "block_size = \"16M\"", with: "block_size = [16]"),
            Malformed("an unknown key", replacing: "block_size = \"16M\"", with: "blok_size = \"16M\""),
            Malformed("an unknown key of a node", replacing: "online = true", with: "onlin = true"),
            Malformed("an unknown key of a link", replacing: "read_latency = 350", with: "latency = 350"),
            Malformed("an unknown key of a distance", replacing: "value = 40", with: "values = 40"),
            Malformed("a duplicate id", replacing: "id = 1", with: "id = 0"),
            Malformed("a negative id", replacing: "id = 1", with: "id = -1"),
            Malformed("an id out of range", replacing: "id = 1", with: "id = 100000"),
            Malformed("an id in quotes", replacing: "id = 1", with: "id = \"1\""),
            Malformed("an id with a fraction", replacing: "id = 1", with: "id = 1.5"),
            Malformed("an unknown kind", replacing: "kind = \"coherent\"", with: "kind = \"gpu\""),
            Malformed(
                "memory that is no multiple of the block size", replacing: "memory = \"128M\"",
                with: "memory = \"120M\""),
            Malformed("possible nodes that leave one out", replacing: "block_size = \"16M\"", with: "possible = \"0\""),
            Malformed("negative memory", replacing: "memory = \"128M\"", with: "memory = \"-128M\""),
            Malformed("memory with a fraction", replacing: "memory = \"128M\"", with: "memory = \"1.5G\""),
            Malformed("memory with a foreign unit", replacing: "memory = \"128M\"", with: "memory = \"128MiB\""),
            Malformed(
                "memory beyond 64 bits", replacing: "memory = \"128M\"", with: "memory = \"99999999999999999999T\""),
            Malformed("memory that overflows", replacing: "memory = \"128M\"", with: "memory = \"16777216T\""),
            Malformed("a CPU list that runs backwards", replacing: "cpus = \"all\"", with: "cpus = \"3-1\""),
            Malformed("a CPU list of letters", replacing: "cpus = \"all\"", with: "cpus = \"a-b\""),
            Malformed("an unknown isolation", replacing: "isolation = \"exclusive\"", with: "isolation = \"strict\""),
            Malformed("online that is no truth", replacing: "online = true", with: "online = \"yes\""),
            Malformed("a node that the host has not", replacing: "online = true", with: "host_node = 1023"),
            Malformed("a negative latency", replacing: "read_latency = 350", with: "read_latency = -1"),
            Malformed("a device's name out of form", replacing: "device = \"cdm0\"", with: "device = \"../cdm0\""),
            Malformed("a distance below 10", replacing: "value = 40", with: "value = 9"),
            Malformed("a distance above 255", replacing: "value = 40", with: "value = 256"),
            Malformed("a distance to nowhere", replacing: "to = 1", with: "to = 7"),
            Malformed("a key twice", replacing: "value = 40", with: "from = 1"),
            Malformed("a node without an id", "[[node]]\nkind = \"ram\"\nmemory = \"256M\"\ncpus = \"all\"\n"),
            Malformed("no RAM", "[[node]]\nid = 0\nkind = \"coherent\"\nmemory = \"256M\"\ndevice = \"cdm0\"\n"),
            Malformed("a NUL byte", line: 1, "block_size = \"16\u{0}M\"\n"),
            Malformed("100 KiB in one line", line: 1, String(repeating: "x", count: 100 << 10)),
        ]

        @Test("are refused", arguments: cases)
        func refused(_ malformed: Malformed) throws {
            try TestMount.unmounted(malformed.text) { mount in
                for command in [mount.command(), [Host.cdmfs, "topology", "--check", mount.topologyFile]] {
                    let outcome = try run(command)
                    #expect([.exited(64), .exited(65)].contains(outcome.ending), "\(outcome.ending) \(outcome.errors)")
                    let lines = outcome.errors.split(separator: "\n")
                    #expect(lines.count == 1 && outcome.errors.utf8.count < 1000, "\(outcome.errors)")
                    let place = mount.topologyFile + ":" + (malformed.line > 0 ? "\(malformed.line):" : "")
                    #expect(outcome.errors.contains(place), "\(place) \(outcome.errors)")
                }
                #expect(!TestMount.isMounted(mount.path))
                #expect(mount.daemons().isEmpty)
            }
        }

        @Test("differ from a good one by that line alone")
        func good() throws {
            try TestMount.unmounted(Malformed.good) { mount in
                let outcome = try run([Host.cdmfs, "topology", "--check", mount.topologyFile])
                #expect(outcome.succeeded, "\(outcome.errors)")
            }
        }

        @Test("are refused as bytes that are no text, too")
        func binary() throws {
            try TestMount.unmounted { mount in
                var noise = SystemRandomNumberGenerator()
                let bytes = (0..<4096).map { _ in UInt8.random(in: 128...255, using: &noise) }
                try Data(bytes).write(to: URL(filePath: mount.topologyFile))
                let outcome = try run(mount.command())
                #expect(outcome.ending == .exited(65), "\(outcome.errors)")
                #expect(outcome.errors.split(separator: "\n").count == 1)
            }
        }
    }
}
