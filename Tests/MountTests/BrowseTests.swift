import CLinux
import Foundation
import SystemPackage
import Testing

private let node = "sys/devices/system/node"
private let memory = "sys/devices/system/memory"

extension Mounts {
    /// Every file of the tree has its exact text, mode and behaviour.
    @Suite("Browsing")
    struct BrowseTests {
        @Test("Node lists")
        func nodeLists() throws {
            try TestMount.with { mount in
                let expected = [
                    "online": "0-1\n", "has_cpu": "0\n", "has_memory": "0-1\n", "has_normal_memory": "0\n",
                    "has_generic_initiator": "\n", "is_coherent_device": "1\n", "is_cdm_node": "1\n",
                ]
                for (name, text) in expected { #expect(try mount.text("\(node)/\(name)") == text, "\(name)") }
                let possible = try parseList(mount.word("\(node)/possible"))
                #expect(Set(possible).isSuperset(of: [0, 1]))
            }
        }

        @Test("Node lists and distances of a machine with gaps")
        func gaps() throws {
            try TestMount.with(Machines.four) { mount throws in
                let expected = [
                    "online": "0-1,4-5\n", "has_cpu": "0-1\n", "has_memory": "0-1,4-5\n", "has_normal_memory": "0-1\n",
                    "is_coherent_device": "4-5\n", "is_cdm_node": "4-5\n",
                    "node0/distance": "10 20 30 40\n", "node1/distance": "20 10 40 80\n",
                    "node4/distance": "35 40 10 40\n", "node5/distance": "40 80 40 10\n",
                    "node0/cpulist": "0\n", "node1/cpulist": "1\n", "node4/cpulist": "\n",
                ]
                for (name, text) in expected { #expect(try mount.text("\(node)/\(name)") == text, "\(name)") }
                #expect(try mount.meminfo(5)["MemTotal"] == 160 << 10)
                #expect(try mount.text("sys/class/cdm/cdm1/numa_node") == "5\n")
            }
        }

        @Test("Distances, CPUs and the host's own maps")
        func distanceAndCPUs() throws {
            try TestMount.with { mount in
                #expect(try mount.text("\(node)/node0/distance") == "10 40\n")
                #expect(try mount.text("\(node)/node1/distance") == "40 10\n")
                #expect(try mount.text("\(node)/node1/cpulist") == "\n")
                let online = try String(contentsOfFile: "/sys/devices/system/cpu/online", encoding: .utf8)
                #expect(try mount.text("\(node)/node0/cpulist") == online)
                let map = try mount.text("\(node)/node1/cpumap")
                #expect(map.allSatisfy { "0,\n".contains($0) })
                // With one node, the host's map is what all CPUs look like here.
                if !FileManager.default.fileExists(atPath: "/\(node)/node1"),
                    let host = try? String(contentsOfFile: "/\(node)/node0/cpumap", encoding: .utf8)
                {
                    #expect(try mount.text("\(node)/node0/cpumap") == host)
                    #expect(map.count == host.count)
                }
            }
        }

        @Test("numastat")
        func numastat() throws {
            try TestMount.with { mount in
                let keys = ["numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node"]
                for id in 0...1 {
                    let lines = try mount.text("\(node)/node\(id)/numastat").split(separator: "\n")
                    #expect(lines.map { $0.split(separator: " ")[0] } == keys.map { $0[...] })
                    #expect(lines.allSatisfy { $0.wholeMatch(of: /[a-z_]+ \d+/) != nil })
                }
            }
        }

        @Test("meminfo has Linux's keys, order and columns")
        func meminfo() throws {
            let keys = """
                MemTotal MemFree MemUsed SwapCached Active Inactive Active(anon) Inactive(anon) Active(file) \
                Inactive(file) Unevictable Mlocked Dirty Writeback FilePages Mapped AnonPages Shmem KernelStack \
                PageTables SecPageTables NFS_Unstable Bounce WritebackTmp KReclaimable Slab SReclaimable SUnreclaim \
                AnonHugePages ShmemHugePages ShmemPmdMapped FileHugePages FilePmdMapped HugePages_Total \
                HugePages_Free HugePages_Surp
                """.split(separator: " ")
            try TestMount.with { mount in
                for id in 0...1 {
                    let lines = try mount.text("\(node)/node\(id)/meminfo").split(separator: "\n")
                    let found = lines.map { $0.split(whereSeparator: \.isWhitespace)[2].dropLast() }
                    #expect(found.filter(Set(keys).contains) == keys)
                    for line in lines {
                        // "Node %d %-15s %8lu kB", and "%5u" without a unit for counts of huge pages
                        let isCount = line.contains("HugePages_")
                        #expect(line.count == (isCount ? 29 : 34), "\(line)")
                        #expect(line.hasPrefix("Node \(id) "))
                        #expect(line.hasSuffix(" kB") == !isCount, "\(line)")
                    }
                    let figures = try mount.meminfo(id)
                    #expect(figures["MemTotal"] == Machines.nodeSize / 1024)
                    #expect(figures["MemUsed"] == figures["MemTotal"]! - figures["MemFree"]!)
                }
                #expect(try mount.meminfo(1)["MemUsed"] == 0)
                if let host = try? String(contentsOfFile: "/\(node)/node0/meminfo", encoding: .utf8) {
                    try expectOrder(of: host, in: mount.text("\(node)/node0/meminfo"), column: 2)
                    let lengths = host.split(separator: "\n").filter { $0.hasPrefix("Node 0 MemTotal") }.map(\.count)
                    #expect(lengths.isEmpty || lengths == [34] || lengths[0] > 34)
                }
            }
        }

        @Test("vmstat has Linux's keys and order")
        func vmstat() throws {
            let keys = [
                "nr_free_pages", "nr_inactive_file", "nr_active_file", "nr_unevictable", "numa_hit", "numa_miss",
                "numa_foreign", "numa_interleave", "numa_local", "numa_other", "nr_mapped", "nr_file_pages", "nr_dirty",
                "pgpromote_success", "pgpromote_candidate", "pgdemote_kswapd", "pgdemote_direct",
            ]
            try TestMount.with { mount in
                for id in 0...1 {
                    let text = try mount.text("\(node)/node\(id)/vmstat")
                    let lines = text.split(separator: "\n")
                    #expect(lines.allSatisfy { $0.wholeMatch(of: /[a-z0-9_]+ \d+/) != nil })
                    let values = try mount.vmstat(id)
                    #expect(keys.filter { values[$0] == nil } == [])
                    #expect(values["nr_free_pages"]! * 4 == (try mount.meminfo(id)["MemFree"]!))
                    if let host = try? String(contentsOfFile: "/\(node)/node0/vmstat", encoding: .utf8) {
                        try expectOrder(of: host, in: text, column: 0)
                    }
                }
                let names = try (0...1).map { try mount.text("\(node)/node\($0)/vmstat").replacing(/\ \d+/, with: "") }
                #expect(names[0] == names[1])
            }
        }

        /// The keys that both texts have come in the same order.
        private func expectOrder(of host: String, in text: String, column: Int) throws {
            func keys(_ text: String) -> [String] {
                text.split(separator: "\n").map { String($0.split(whereSeparator: \.isWhitespace)[column]) }
            }
            let ours = keys(text), theirs = keys(host)
            #expect(ours.filter(Set(theirs).contains) == theirs.filter(Set(ours).contains))
        }

        @Test("Memory blocks")
        func memoryBlocks() throws {
            try TestMount.with { mount in
                #expect(try mount.text("\(memory)/block_size_bytes") == "1000000\n")
                let blocks = try FileManager.default.contentsOfDirectory(atPath: mount.path + "/" + memory)
                    .compactMap { $0.wholeMatch(of: /memory(\d+)/).flatMap { Int($0.1) } }
                #expect(blocks.count == 2 * Machines.nodeSize / Machines.blockSize)
                var movable = 0
                for block in blocks {
                    let folder = "\(memory)/memory\(block)"
                    let index = try mount.text("\(folder)/phys_index")
                    #expect(index.wholeMatch(of: /[0-9a-f]{8}\n/) != nil)
                    #expect(Int(index.dropLast(), radix: 16) == block)
                    #expect(try mount.text("\(folder)/state") == "online\n")
                    #expect(try mount.text("\(folder)/online") == "1\n")
                    #expect(["0\n", "1\n"].contains(try mount.text("\(folder)/removable")))
                    if try mount.text("\(folder)/valid_zones") == "Movable\n" { movable += 1 }
                }
                // ZONE_MOVABLE is all that a coherent node has.
                #expect(movable >= Machines.nodeSize / Machines.blockSize)
            }
        }

        @Test("A node whose blocks begin offline")
        func hotAdded() throws {
            try TestMount.with(Machines.make(online: false)) { mount throws in
                #expect(try mount.text("\(node)/has_memory") == "0\n")
                #expect(try mount.text("sys/class/cdm/cdm0/state") == "offline\n")
            }
        }

        @Test("Device class")
        func deviceClass() throws {
            try TestMount.with { mount throws in
                #expect(try mount.text("sys/class/cdm/cdm0/numa_node") == "1\n")
                #expect(try mount.text("sys/class/cdm/cdm0/state") == "online\n")
                #expect(try mount.word("sys/class/cdm/cdm0/size") == "\(Machines.nodeSize)")
                #expect(try mount.entry("dev/cdm0").status.st_size == Machines.nodeSize)
                #expect(try mount.text("\(node)/node1/cdm/isolation") == "none [exclusive] restricted driver private\n")
                #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry("\(node)/node0/cdm") }
                #expect(try mount.values("\(node)/node1/cdm/refused")["fallback"] == 0)
                #expect(try mount.text("\(node)/node1/cdm/migrate").hasPrefix("state=idle "))
            }
        }

        @Test("A buffer's controls")
        func bufferControls() throws {
            try TestMount.with { mount in
                try mount.makeBuffer("a", size: 1 << 20)
                let control = mount.control("a")
                #expect(try mount.text(control + "/size") == "1048576\n")
                #expect(try mount.text(control + "/resident") == "0\n")
                #expect(try mount.text(control + "/policy") == "default\n")
                #expect(try mount.word(control + "/placement") == "")
                // As every file of a line each: no line for none.
                #expect(try mount.text(control + "/pages") == "")
                #expect(try mount.text(control + "/migrate").hasPrefix("state=idle "))
                #expect(try mount.values(control + "/faults")["read"] == 0)
                for (written, shown) in [
                    ("bind:1", "bind:1"), ("prefer:1", "prefer:1"), ("interleave:0-1", "interleave:0-1"),
                    ("interleave:0,1", "interleave:0-1"), ("default", "default"),
                ] {
                    try mount.store(written, in: control + "/policy")
                    #expect(try mount.text(control + "/policy") == shown + "\n")
                }
                for wrong in ["bind", "bind:", "bind:x", "nonsense", "interleave:", "bind:1 2"] {
                    #expect(throws: Errno.invalidArgument, "\(wrong)") {
                        try mount.store(wrong, in: control + "/policy")
                    }
                }
                #expect(throws: Errno.self) { try mount.store("bind:7", in: control + "/policy") }
                #expect(try mount.text(control + "/policy") == "default\n")
                try FileManager.default.removeItem(atPath: mount.path + "/buffers/a")
                #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry(control) }
            }
        }
    }
}
