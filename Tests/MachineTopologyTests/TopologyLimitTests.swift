import Glibc
import MachineTopology
import Testing

/// Large and hostile topology files take as long as they are, and no longer.
@Suite("Topologies of a megabyte") struct TopologyLimitTests {
    private static let machine = "[[node]]\nid = 0\nkind = \"ram\"\nmemory = \"1G\"\n"

    /// A megabyte of `unit`, which gets a number.
    private static func megabyte(_ unit: (Int) -> String) -> String {
        var text = ""
        var index = 0
        while text.utf8.count < 1 << 20 {
            text += unit(index)
            index += 1
        }
        return text
    }

    /// What it is, the text, and how the message begins; none where it is a machine.
    private static let texts: [(name: String, text: String, message: String?)] = [
        ("20,000 dotted keys", (0..<20_000).map { "a\($0).b = 1\n" }.joined(), "topology:65: more than 64 keys"),
        (
            "20,000 dotted keys in a node", machine + (0..<20_000).map { "a\($0).b = 1\n" }.joined(),
            "topology:66: more than 64 keys"
        ),
        (
            "a key of 20,000 parts", (0..<20_000).map { "k\($0)" }.joined(separator: ".") + " = 1",
            "topology:1: more than 3074 tables"
        ),
        ("a key of half a million parts", megabyte { _ in "a." } + "a = 1", "topology:1: more than 3074 tables"),
        ("tables", megabyte { "[t\($0)]\n" }, "topology:65: more than 64 keys"),
        ("tables in tables", megabyte { "[node.a\($0).b]\n" }, "topology:65: more than 64 keys"),
        ("arrays of tables", megabyte { "[[t\($0 / 2)]]\n" }, "topology:129: more than 64 keys"),
        ("keys", megabyte { "key\($0) = 1\n" }, "topology:65: more than 64 keys"),
        ("nodes", megabyte { "[[node]]\nid = \($0)\n" }, "topology:2049: more than 1024 nodes"),
        ("inline tables", "a = [" + megabyte { _ in "{b=1}," } + "]", "topology:1: unknown key \"a\""),
        (
            "links of too many nodes", megabyte { "[[node]]\nid = \($0)\na.b = 1\nc.d = 2\n" },
            "topology:6148: more than 3074 tables"
        ),
        ("a deep array", "a = " + megabyte { _ in "[" }, "topology:1: malformed TOML"),
        ("a deep table", "a = " + megabyte { _ in "{a=" }, "topology:1: malformed TOML"),
        ("numbers", "a = [" + megabyte { _ in "1," } + "]", "topology:1: unknown key \"a\""),
        ("a string", "a = \"" + megabyte { _ in "x" } + "\"", "topology:1: unknown key \"a\""),
        ("a string without an end", "a = \"\"\"" + megabyte { _ in "\"\" " }, "topology:1: malformed TOML"),
        ("backslashes", "a = '''" + megabyte { _ in "\\" } + "'''", "topology:1: unknown key \"a\""),
        ("quotation marks", megabyte { _ in "\"" }, "topology:1: malformed TOML"),
        ("dots", megabyte { _ in "." }, "topology:1: "),
        ("brackets", megabyte { _ in "]" }, "topology:1: malformed TOML"),
        (
            "distances of a node that is not there",
            machine + megabyte { "[[distance]]\nfrom=0\nto=\($0 % 9 + 1)\nvalue=20\n" },
            "topology:7: distance to node 1"
        ),
        ("comments", machine + megabyte { _ in "# \"'[.=\n" }, nil),
        ("blanks", machine + megabyte { _ in " \n\t" }, nil),
    ]

    /// How long this thread has run.
    private static var processorTime: Duration {
        var time = timespec()
        unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }

    /// Code that is not optimized, as of a test, takes several times as long.
    private static var patience: Duration { .seconds(_isDebugAssertConfiguration() ? 4 : 1) }

    @Test("It is parsed or refused within a second", arguments: texts.indices)
    func time(index: Int) throws {
        let (name, text, message) = Self.texts[index]
        let bytes = Array(text.utf8)
        var refusal: TopologyError?
        // The time of the processor: others share this host.
        let start = Self.processorTime
        do throws(TopologyError) {
            _ = try Topology(toml: bytes, file: "topology")
        } catch {
            refusal = error
        }
        let time = Self.processorTime - start
        #expect(time < Self.patience, "\(name)")
        if let message {
            #expect(refusal?.description.hasPrefix(message) == true, "\(name): \(String(describing: refusal))")
            #expect((refusal?.description.utf8.count ?? 0) < 400, "\(name)")
        } else {
            #expect(refusal == nil, "\(name): \(String(describing: refusal))")
        }
    }

    @Test("A machine of 1024 nodes with links, caches and distances is not too much")
    func largest() throws {
        var text = Self.machine
        for node in 1..<1024 {
            text += """
                [[node]]
                id = \(node)
                kind = "coherent"
                memory = "128M"
                link.read_latency = 300
                link.write_latency = 300
                [[node.cache]]
                size = 64
                [[distance]]
                from = 0
                to = \(node)
                value = 50

                """
        }
        let topology = try Topology(toml: text)
        #expect(topology.nodes.count == 1024)
        #expect(topology.distance(from: 1023, to: 0) == 50)
    }
}
