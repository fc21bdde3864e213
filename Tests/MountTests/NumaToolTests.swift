import CoherentMemory
import MachineTopology
import Testing

extension Mounts {
    /// numactl, numastat, libnuma and lscpu tell of the simulated nodes what the topology says.
    @Suite("NUMA tools")
    struct NumaToolTests {
        @Test("numactl -H, libnuma, lscpu", arguments: ToolMachine.all)
        func nodes(machine: ToolMachine) throws {
            let topology = try machine.topology()
            try TestMount.with(machine.toml, checkingLeaks: false) { mount in
                try checkNumactl(tool(mount, "numactl", "-H"), topology)
                try checkLibnuma(tool(mount, Client.numa.command([])[0]), topology)
                try checkLscpu(tool(mount, "lscpu"), topology)
            }
        }

        private func checkNumactl(_ output: String, _ topology: Topology) {
            let lines = rows(output)
            let nodes = topology.nodes
            #expect(lines.first == ["available:", "\(nodes.count)", "nodes", "(\(topology.nodeIDs))"])
            for node in nodes {
                let size = "\(topology.online(node) >> 20)"
                #expect(lines.contains(["node", "\(node.id)", "cpus:"] + node.cpus.map { "\($0)" }))
                #expect(lines.contains(["node", "\(node.id)", "size:", size, "MB"]), "node \(node.id)")
                #expect(lines.contains(["node", "\(node.id)", "free:", size, "MB"]), "node \(node.id)")
            }
            let table = lines.suffix(nodes.count + 1)
            #expect(table.first == ["node"] + nodes.map { "\($0.id)" })
            for (node, row) in zip(nodes, table.dropFirst()) {
                #expect(row == ["\(node.id):"] + topology.distances(from: node).map { "\($0)" })
            }
        }

        private func checkLibnuma(_ output: String, _ topology: Topology) {
            let nodes = topology.nodes
            // Those with memory are what it counts.
            let count = nodes.count { topology.online($0) > 0 }
            var expected = ["configured=\(count) max=\(nodes.last!.id)"]
            for node in nodes {
                let size = topology.online(node)
                let distances = nodes.map { "\($0.id):\(topology.distance(from: node.id, to: $0.id))" }
                expected.append(
                    "node=\(node.id) size=\(size) free=\(size) "
                        + "cpus=\(node.cpus.map { "\($0)" }.joined(separator: ",")) "
                        + "distances=\(distances.joined(separator: ","))")
            }
            #expect(output.split(separator: "\n").map(String.init) == expected)
        }

        private func checkLscpu(_ output: String, _ topology: Topology) throws {
            var shown: [String: String] = [:]
            for line in output.split(separator: "\n") where line.contains("NUMA") {
                let pair = line.split(separator: ":", maxSplits: 1).map { $0.trimmingPrefix { $0 == " " } }
                shown[String(pair[0])] = pair.count > 1 ? String(pair[1]) : ""
            }
            #expect(shown["NUMA node(s)"] == "\(topology.nodes.count)")
            for node in topology.nodes {
                // lscpu writes two neighbours as a pair, where the kernel writes a range.
                let text = shown["NUMA node\(node.id) CPU(s)"] ?? "none"
                #expect(try parseList(text) == Array(node.cpus), "node \(node.id)")
            }
        }

        @Test("numastat, -n and -m", arguments: ["two-socket", "dual-device", "holes"])
        func statistics(machine: String) throws {
            let machine = ToolMachine[machine]
            let topology = try machine.topology()
            let target = try #require(topology.nodes.last { $0.kind == .coherent && topology.online($0) >= 8 << 20 })
            try TestMount.with(machine.toml) { mount in
                let megabytes = 6
                try mount.fill(
                    mount.makeBuffer("a", size: megabytes << 20, policy: "bind:\(target.id)"), limit: megabytes << 20)
                func used(_ node: NodeDescription) -> Int { node.id == target.id ? megabytes : 0 }
                func expectRow(
                    _ output: String, _ name: String, total: Bool = true, _ value: (NodeDescription) -> String,
                    sum: String
                ) {
                    // numastat breaks a table that is wider than the terminal into several.
                    let cells = rows(output).filter { $0.first == name }.flatMap { $0.dropFirst() }
                    #expect(
                        cells == topology.nodes.map(value) + (total ? [sum] : []), "\(name)\n\(output)")
                }
                func fixed(_ megabytes: UInt64) -> String { "\(megabytes).00" }

                let plain = try tool(mount, "numastat")
                expectRow(plain, "numa_hit", total: false, { "\(used($0) << 8)" }, sum: "")
                expectRow(plain, "numa_miss", total: false, { _ in "0" }, sum: "")
                expectRow(plain, "other_node", total: false, { "\(used($0) << 8)" }, sum: "")
                let inMegabytes = try tool(mount, "numastat", "-n")
                expectRow(
                    inMegabytes, "Numa_Hit", { fixed(UInt64(used($0))) }, sum: fixed(UInt64(megabytes)))
                let memory = try tool(mount, "numastat", "-m")
                let total = topology.onlineTotal >> 20
                expectRow(memory, "MemTotal", { fixed(topology.online($0) >> 20) }, sum: fixed(total))
                expectRow(
                    memory, "MemFree", { fixed(topology.online($0) >> 20 - UInt64(used($0))) },
                    sum: fixed(total - UInt64(megabytes)))
                for name in ["MemUsed", "FilePages"] {
                    expectRow(memory, name, { fixed(UInt64(used($0))) }, sum: fixed(UInt64(megabytes)))
                }
            }
        }
    }
}
