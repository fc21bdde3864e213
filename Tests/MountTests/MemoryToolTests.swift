import CoherentMemory
import Foundation
import MachineTopology
import SystemPackage
import Testing

private let folder = "sys/devices/system/memory"

extension Mounts {
    /// lsmem and chmem see the simulated blocks and move them.
    @Suite("Memory tools")
    struct MemoryToolTests {
        /// A line of lsmem.
        private struct Row: Equatable {
            let block: Int
            let node: Int
            let state: String
            let zones: String
        }

        private func parse(_ output: String, blockSize: Int) throws -> [Row] {
            try output.split(separator: "\n").map { line in
                let fields = line.matches(of: /([A-Z]+)="([^"]*)"/).reduce(into: [:]) { $0[$1.1] = String($1.2) }
                guard let block = fields["BLOCK"].flatMap({ Int($0) }), let node = fields["NODE"].flatMap({ Int($0) }),
                    let state = fields["STATE"], let zones = fields["ZONES"]
                else { throw Failure("lsmem says \(line)") }
                func address(_ value: Int) -> String { String(format: "0x%016lx", value) }
                #expect(
                    fields["RANGE"] == "\(address(block * blockSize))-\(address((block + 1) * blockSize - 1))",
                    "\(line)")
                // lsmem leaves the column blank for what is offline.
                let removable = state == "online" ? "yes" : ""
                #expect(fields["SIZE"] == "\(blockSize)" && fields["REMOVABLE"] == removable, "\(line)")
                return Row(block: block, node: node, state: state, zones: zones)
            }
        }

        /// What the tree says, in lsmem's words.
        private func blocks(_ mount: TestMount) throws -> [Row] {
            var rows: [Row] = []
            for node in try mount.nodes() {
                for block in try mount.numbers("memory", in: "sys/devices/system/node/node\(node)") {
                    rows.append(
                        Row(
                            block: block, node: node, state: try mount.word("\(folder)/memory\(block)/state"),
                            zones: try mount.word("\(folder)/memory\(block)/valid_zones").replacing(" ", with: "/")))
                }
            }
            return rows.sorted { $0.block < $1.block }
        }

        @Test("lsmem, in a run and with --sysroot", arguments: ToolMachine.all)
        func lsmem(machine: ToolMachine) throws {
            let topology = try machine.topology()
            let size = Int(topology.blockSize)
            try TestMount.with(machine.toml, checkingLeaks: false) { mount in
                let all = ["lsmem", "-abP", "-o", "RANGE,SIZE,STATE,REMOVABLE,BLOCK,NODE,ZONES"]
                let outside = try run(all + ["--sysroot", mount.path])
                let shown = try parse(outside.output, blockSize: size)
                #expect(shown == (try blocks(mount)))
                #expect(try tool(mount, all[0], all[1], all[2], all[3]) == outside.output)
                for node in topology.nodes {
                    let own = shown.filter { $0.node == node.id }
                    #expect(own.count == Int(node.memory) / size, "node \(node.id)")
                    #expect(own.allSatisfy { $0.state == (node.isOnline ? "online" : "offline") }, "node \(node.id)")
                    if node.isOnline {
                        let zone = node.kind == .coherent ? "Movable" : "Normal"
                        #expect(own.allSatisfy { $0.zones == zone }, "node \(node.id)")
                    }
                }
                let summary = rows(try tool(mount, "lsmem", "--bytes", "--summary=only")).map(\.last)
                let online = topology.onlineTotal, memory = topology.nodes.reduce(0) { $0 + $1.memory }
                #expect(summary == ["\(size)", "\(online)", "\(memory - online)"])
            }
        }

        private func chmem(_ mount: TestMount, _ arguments: String...) throws -> Outcome {
            try run([Host.cdmfs, "run", "--mount", mount.path, "--", "chmem"] + arguments)
        }

        private func states(_ mount: TestMount, _ blocks: [Int]) throws -> Set<String> {
            Set(try blocks.map { try mount.word("\(folder)/memory\($0)/state") })
        }

        @Test("chmem on blocks, on a node's range, by size and by zone; the data stays")
        func chmem() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 48 << 20, policy: "bind:1")
                try Client.pattern("store", file, 0, "48M", 3)
                let blocks = try mount.numbers("memory", in: "sys/devices/system/node/node1")
                let (first, last) = (blocks.first!, blocks.last!)
                let total = try mount.meminfo(1)["MemTotal"]!

                // One block, and what is in the state already.
                #expect(try chmem(mount, "-d", "-b", "\(first)").succeeded)
                #expect(try states(mount, [first]) == ["offline"])
                #expect(try mount.meminfo(1)["MemTotal"] == total - Machines.blockSize >> 10)
                #expect(try chmem(mount, "-e", "-b", "\(first)").succeeded)
                #expect(try states(mount, blocks) == ["online"])

                // The node's range, by addresses. What the node holds goes to the other one.
                let range = String(
                    format: "0x%lx-0x%lx", first * Machines.blockSize, (last + 1) * Machines.blockSize - 1)
                let disabling = try chmem(mount, "-v", "-d", range)
                #expect(disabling.succeeded, "\(disabling.errors)")
                #expect(disabling.output.split(separator: "\n").count == blocks.count, "\(disabling.output)")
                #expect(try states(mount, blocks) == ["offline"])
                #expect(try mount.meminfo(1)["MemTotal"] == 0)
                #expect(try mount.placement("a") == [0: 48 << 8])
                try Client.pattern("verify", file, 0, "48M", 3)
                let summary = try rows(tool(mount, "lsmem", "--bytes", "--summary=only")).map(\.last)
                #expect(summary == ["\(Machines.blockSize)", "\(Machines.nodeSize)", "\(Machines.nodeSize)"])

                // Device memory is for movable pages only.
                #expect(try !chmem(mount, "-e", "-z", "Normal", "-b", "\(first)-\(last)").succeeded)
                #expect(try states(mount, blocks) == ["offline"])
                #expect(try chmem(mount, "-e", "-z", "Movable", "-b", "\(first)").succeeded)
                #expect(try mount.word("\(folder)/memory\(first)/valid_zones") == "Movable")
                #expect(try chmem(mount, "-e", range).succeeded)
                #expect(try states(mount, blocks) == ["online"])
                #expect(try mount.meminfo(1)["MemTotal"] == total)

                // By size: as many blocks as it takes.
                #expect(try chmem(mount, "-d", "32M").succeeded)
                func online() throws -> Int {
                    try self.blocks(mount).count { $0.state == "online" } * Machines.blockSize
                }
                #expect(try online() == 2 * Machines.nodeSize - 32 << 20)
                #expect(try chmem(mount, "-e", "32M").succeeded)
                #expect(try online() == 2 * Machines.nodeSize)
                try Client.pattern("verify", file, 0, "48M", 3)
                try mount.expectAgreement()
            }
        }

        @Test("chmem says what cannot be taken away")
        func refusal() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                // More than the other node can take.
                for (name, node) in [("a", 0), ("b", 1)] {
                    try mount.fill(
                        mount.makeBuffer(name, size: Machines.nodeSize, policy: "bind:\(node)"),
                        limit: Machines.nodeSize - 4 << 20)
                }
                let blocks = try mount.numbers("memory", in: "sys/devices/system/node/node1")
                let outcome = try chmem(mount, "-d", "-b", "\(blocks.first!)")
                #expect(
                    outcome.ending == .exited(1) && outcome.errors.contains("Device or resource busy"), "\(outcome)")
                #expect(try states(mount, blocks) == ["online"])
                try mount.expectAgreement()
            }
        }

        private static let original = ProcessInfo.processInfo.environment["MEMORY_HOTPLUG_SELFTEST"]

        @Test(
            "Linux's own memory-hotplug selftest",
            .enabled(if: original != nil, "MEMORY_HOTPLUG_SELFTEST names no mem-on-off-test.sh of a kernel's source"))
        func originalSelftest() throws {
            try TestMount.with(ToolMachine["holes"].toml, checkingLeaks: false) { mount in
                let outcome = try run(
                    [Host.cdmfs, "run", "--mount", mount.path, "--", "bash", Self.original!, "-r", "100"], within: 60)
                #expect(outcome.succeeded && !outcome.errors.contains("unexpected"), "\(outcome)")
                #expect(outcome.output.split(separator: "\n").count { $0.hasPrefix("online->offline") } == 45)
                #expect(try states(mount, mount.numbers("memory", in: folder)) == ["online"])
            }
        }

        @Test(
            "Every block goes off and on as Linux's memory-hotplug selftest has it", arguments: ["two-socket", "holes"])
        func selftest(machine: String) throws {
            try TestMount.with(ToolMachine[machine].toml, checkingLeaks: false) { mount in
                let output = try tool(mount, "bash", Host.package.appending("Tests/Clients/memory-hotplug.sh").string)
                let total = try blocks(mount).count
                let line = "blocks=\(total) online=\(total) toggled=\(total) failed=0\n"
                #expect(output == line)
                try mount.expectAgreement()
            }
        }
    }
}
