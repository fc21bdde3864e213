import CoherentMemory
import Foundation
import MachineTopology
import Testing

extension Mounts {
    /// hwloc draws the simulated nodes where the topology has them.
    @Suite("hwloc")
    struct HwlocTests {
        /// hwloc's text of a bitmap: words of 32 bits, the most significant first, a word of 0 left out.
        private func bitmap(_ text: some StringProtocol) throws -> IDSet {
            var set = IDSet()
            for (index, word) in text.split(separator: ",", omittingEmptySubsequences: false).reversed().enumerated() {
                guard let bits = word.isEmpty ? 0 : UInt32(word.trimmingPrefix("0x"), radix: 16) else {
                    throw Failure("no bitmap: \(text)")
                }
                for bit in 0..<32 where bits >> bit & 1 == 1 { set.insert(index * 32 + bit) }
            }
            return set
        }

        /// The CPUs that are nearest to a node: its own, its initiators', or all.
        private func locality(of node: NodeDescription, _ mount: TestMount, _ topology: Topology) throws -> IDSet {
            var cpus = node.cpus
            if cpus.isEmpty {
                let initiators = "sys/devices/system/node/node\(node.id)/access0/initiators"
                for initiator in (try? mount.numbers("node", in: initiators)) ?? [] {
                    cpus.formUnion(topology.node(initiator)!.cpus)
                }
                if cpus.isEmpty { return topology.nodes.reduce(into: IDSet()) { $0.formUnion($1.cpus) } }
            }
            return cpus
        }

        /// A size as lstopo's text has it.
        private func size(_ bytes: UInt64) -> String {
            switch bytes {
            case 0: ""
            case ..<(10 << 20): " \(bytes >> 10)KB"
            case ..<(10 << 30): " \(bytes >> 20)MB"
            default: " \(bytes >> 30)GB"
            }
        }

        @Test("lstopo, hwloc-info and hwloc-calc", arguments: ToolMachine.all)
        func lstopo(machine: ToolMachine) throws {
            let topology = try machine.topology()
            try TestMount.with(machine.toml, checkingLeaks: false) { mount in
                let text = try tool(mount, "lstopo-no-graphics", "--disallowed", "--no-io", "--of", "console")
                #expect(text.hasPrefix("Machine (\(size(topology.onlineTotal).dropFirst()) total)"), "\(text)")
                for node in topology.nodes {
                    #expect(text.contains("(P#\(node.id)\(size(topology.online(node))))"), "node \(node.id)\n\(text)")
                }
                try checkDrawing(
                    tool(mount, "lstopo-no-graphics", "--disallowed", "--no-io", "--of", "xml"), mount, topology)

                let info = try tool(mount, "hwloc-info", "--disallowed", "numa:all")
                let shown = info.matches(of: /NUMANode L#[^L]*? os index = (\d+)/).map { Int($0.1)! }
                #expect(shown.sorted() == topology.nodes.map(\.id))
                #expect(try bitmap(calc(mount, "--nodeset", "numa:all")) == topology.nodeIDs)
                let near = try topology.nodes.filter { try !locality(of: $0, mount, topology).isEmpty }.map(\.id)
                #expect(try parseList(calc(mount, "--po", "-I", "numa", "all")).sorted() == near)
                for node in topology.nodes.suffix(3) {
                    #expect(
                        try bitmap(calc(mount, "--pi", "numa:\(node.id)")) == locality(of: node, mount, topology),
                        "node \(node.id)")
                }
            }
        }

        @Test("The memory of the best latency is a CPU's RAM, and that of the best bandwidth what the topology says")
        func bestMemory() throws {
            for (machine, latency, bandwidth) in [
                ("default", "0", "0"), ("two-socket", "1", "1"), ("dual-device", "0", "1"),
            ] {
                try TestMount.with(ToolMachine[machine].toml, checkingLeaks: false) { mount throws in
                    let cpu = machine == "two-socket" ? "pu:1" : "pu:0"
                    func best(_ attribute: String) throws -> String {
                        try calc(mount, "--pi", "--po", "--local-memory", "--best-memattr", attribute, cpu)
                    }
                    #expect(try best("latency") == latency, "\(machine)")
                    #expect(try best("bandwidth") == bandwidth, "\(machine)")
                }
            }
        }

        @Test("access0 and access1 of every node agree with the distances")
        func access() throws {
            let topology = try Topology(toml: Machines.four)
            try TestMount.with(Machines.four, checkingLeaks: false) { mount in
                let folder = "sys/devices/system/node"
                let processors = topology.nodes.filter { !$0.cpus.isEmpty }.map(\.id)
                for access in ["access0", "access1"] {
                    for node in topology.nodes where node.memory > 0 {
                        let nearest = processors.map { topology.distance(from: $0, to: node.id) }.min()
                        let best = processors.filter { topology.distance(from: $0, to: node.id) == nearest }
                        let initiators = "\(folder)/node\(node.id)/\(access)/initiators"
                        #expect(try mount.numbers("node", in: initiators).sorted() == best, "node \(node.id)")
                        let link = try #require(node.link)
                        #expect(try mount.word(initiators + "/read_latency") == "\(link.readLatency)")
                        #expect(try mount.word(initiators + "/write_latency") == "\(link.writeLatency)")
                        #expect(try mount.word(initiators + "/read_bandwidth") == "\(link.readBandwidth)")
                        #expect(try mount.word(initiators + "/write_bandwidth") == "\(link.writeBandwidth)")
                        for initiator in best {
                            let targets = try mount.numbers("node", in: "\(folder)/node\(initiator)/\(access)/targets")
                            #expect(targets.contains(node.id))
                        }
                    }
                }
            }
        }

        private func calc(_ mount: TestMount, _ arguments: String...) throws -> String {
            let outcome = try run(
                [Host.cdmfs, "run", "--mount", mount.path, "--", "hwloc-calc", "--disallowed"] + arguments)
            try #require(outcome.succeeded && outcome.errors.isEmpty, "\(arguments): \(outcome)")
            return outcome.output.trimmingCharacters(in: .newlines)
        }

        private func checkDrawing(_ xml: String, _ mount: TestMount, _ topology: Topology) throws {
            var drawn: [Int: (memory: UInt64, cpus: IDSet)] = [:]
            var names: [String: Int] = [:]
            for object in xml.matches(of: /<object type="NUMANode"([^>]*)>/) {
                let fields = object.1.matches(of: /(\w+)="([^"]*)"/).reduce(into: [:]) { $0[$1.1] = $1.2 }
                let id = try #require(fields["os_index"].flatMap { Int($0) })
                names[String(try #require(fields["gp_index"]))] = id
                drawn[id] = (fields["local_memory"].flatMap { UInt64($0) } ?? 0, try bitmap(fields["cpuset"] ?? ""))
            }
            #expect(drawn.keys.sorted() == topology.nodes.map(\.id))
            for node in topology.nodes {
                #expect(drawn[node.id]?.memory == topology.online(node), "node \(node.id)")
                #expect(drawn[node.id]?.cpus == (try locality(of: node, mount, topology)), "node \(node.id)")
            }
            let matrix = try #require(
                xml.firstMatch(of: /<distances2 type="NUMANode"[^>]*name="NUMALatency"((?:.|\n)*?)<\/distances2>/))
            func numbers(_ element: String) -> [Int] {
                matrix.1.split(separator: "<").filter { $0.hasPrefix(element) }.flatMap {
                    $0.split(separator: ">").last!.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
                }
            }
            #expect(numbers("indexes") == topology.nodes.map(\.id))
            #expect(numbers("u64values") == topology.nodes.flatMap { topology.distances(from: $0) })
            // How fast all memory is that is in reach of a CPU of the host.
            for (attribute, figure) in [
                ("ReadLatency", \Link.readLatency), ("WriteLatency", \.writeLatency),
                ("ReadBandwidth", \.readBandwidth), ("WriteBandwidth", \.writeBandwidth),
            ] as [(String, KeyPath<Link, UInt64>)] {
                let table = xml.split(separator: "<memattr name=\"\(attribute)\"").dropFirst().first ?? ""
                let values = table.split(separator: "</memattr>")[0]
                    .matches(of: /target_obj_gp_index="(\d+)" value="(\d+)"/)
                    .reduce(into: [:]) { $0[names[String($1.1)] ?? -1] = UInt64($1.2) }
                let expected = try topology.nodes.filter {
                    try $0.memory > 0 && !locality(of: $0, mount, topology).isEmpty
                }
                .reduce(into: [:]) { $0[$1.id] = $1.link?[keyPath: figure] }
                #expect(values == expected, "\(attribute)")
            }
        }
    }
}
