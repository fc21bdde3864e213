import SystemPackage
import Testing

extension Mounts {
    /// Each form of numactl(8) on machines of all kinds, seen in where the memory of a program is then.
    @Suite(
        "numactl",
        .enabled(if: Host.isRoot && Host.watchesAddressSpaces && Host.has("numactl")))
    struct NumactlTests {
        static let machines: [(name: String, toml: String)] = [
            ("one node", "block_size = \"16M\"\n" + Machines.node(0, "ram", "64M", cpus: "all")),
            ("exclusive", Machines.make(ram: "64M", device: "64M")),
            ("two sockets and two devices", Machines.four),
            ("sparse and memoryless", Machines.holes),
            ("CPUs that the host lacks", Machines.manyCPUs),
            (
                "64 nodes",
                "block_size = \"2M\"\n" + Machines.node(0, "ram", "8M", cpus: "all")
                    + (1..<64).map { Machines.node($0, "ram", "2M") }.joined()
            ),
        ]

        /// Where the pages of a program are, by the nodes.
        private func spread(_ mount: TestMount, _ size: Int, _ form: String...) throws -> [Int: Int] {
            let program = ["numactl"] + form + (try Client.anonymous.command(["spread", size]))
            let outcome = try run([Host.cdmfs, "run", "--mount", mount.path, "--"] + program)
            #expect(outcome.succeeded, "\(form) \(outcome.output) \(outcome.errors)")
            return outcome.output.split(separator: "\n").reduce(into: [:]) { counts, line in
                let words = line.split(separator: "=")
                if words.count == 2, let node = Int(words[0]), let count = Int(words[1]) { counts[node] = count }
            }
        }

        @Test("Memory is where each form puts it", arguments: machines.map(\.name))
        func forms(name: String) throws {
            let toml = try #require(Self.machines.first { $0.name == name }).toml
            try TestMount.with(toml) { mount in
                func list(_ file: String) throws -> [Int] {
                    try parseList(try mount.word("sys/devices/system/node/\(file)"))
                }
                let (withMemory, withCPUs) = (try list("has_memory"), try list("has_cpu"))
                let size = 256 << 10
                for node in Set([withMemory.first!, withMemory[withMemory.count / 2], withMemory.last!]) {
                    #expect(try spread(mount, size, "--membind=\(node)") == [node: 64])
                    #expect(try spread(mount, size, "--preferred=\(node)") == [node: 64])
                }
                let whole = try spread(mount, size * withMemory.count, "--interleave=all")
                #expect(whole.keys.sorted() == withMemory, "\(whole)")
                #expect(whole.values.allSatisfy { (63...65).contains($0) }, "\(whole)")
                let two = withMemory.suffix(2)
                let both = two.map(String.init).joined(separator: ",")
                #expect(try spread(mount, size, "--membind=\(both)").values.reduce(0, +) == 64)
                let many = try spread(mount, size, "--preferred-many=\(both)")
                #expect(many.keys.allSatisfy { two.contains($0) }, "\(many)")
                // The last node with CPUs and memory has its own memory.
                if let node = withCPUs.last(where: { withMemory.contains($0) }) {
                    #expect(try spread(mount, size, "--cpunodebind=\(node)", "--localalloc") == [node: 64])
                }
                let tool = [Host.cdmfs, "run", "--mount", mount.path, "--"]
                let shown = try run(tool + ["numactl", "--interleave=all", "numactl", "--show"]).output
                let nodes = withMemory.map(String.init).joined(separator: " ")
                #expect(
                    shown.contains("policy: interleave\n") && shown.contains("interleavemask: \(nodes) \n"), "\(shown)")
                #expect(shown.contains("membind: \(nodes) \n"), "\(shown)")
                let absent = try run(tool + ["numactl", "--membind=\(withMemory.last! + 1)", "true"])
                #expect(!absent.succeeded)
            }
        }
    }
}
