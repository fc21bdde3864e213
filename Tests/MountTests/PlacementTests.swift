import CLinux
import Foundation
import MachineTopology
import SystemPackage
import Testing

extension Mounts {
    /// Where pages are, and that every file that says so says the same.
    @Suite("Placement")
    struct PlacementTests {
        private let result = /state=done moved=(\d+) failed=0 bytes=(\d+) seconds=\d+(\.\d+)?/

        @Test("numpy's contents survive migration", arguments: ["buffers/a", "dev/cdm0"])
        func numpy(file: String) throws {
            try TestMount.with { mount in
                let size = 32 << 20
                if file == "buffers/a" { try mount.makeBuffer("a", size: size) }
                func memmap(_ mode: String) throws {
                    let outcome = try run(
                        ["python3", Client.memmap, mode, mount.path + "/" + file, "\(size)", "41"], within: 60)
                    try #require(outcome.succeeded, "\(mode): \(outcome.errors)")
                    #expect(outcome["words"] == size / 8)
                }
                let controls = file == "buffers/a" ? mount.control("a") : "sys/devices/system/node/node1/cdm"
                try memmap("fill")
                for node in file == "buffers/a" ? [1, 0, 1] : [0] {
                    try mount.store("\(node)", in: controls + "/migrate")
                    #expect(try mount.word(controls + "/migrate").wholeMatch(of: result) != nil)
                    try memmap("verify")
                }
            }
        }

        @Test("A device file is one memory for two processes and for all its openers")
        func device() throws {
            try TestMount.with { mount in
                let file = mount.path + "/dev/cdm0"
                try Client.share(file, "4M")
                try Client.pattern("store", file, "64M", "16M", 5)
                try Client.pattern("verify", file, "64M", "16M", 5)
                try Client.pattern("read", file, "64M", "16M", 5)
                try Client.pattern("private", file, "64M", "16M", 5)
                let figures = try mount.meminfo(1)
                #expect(figures["MemUsed"]! >= 20 << 10)
                #expect(try mount.meminfo(0)["MemUsed"] == 0)
            }
        }

        @Test("placement, meminfo, vmstat and numastat agree to the page")
        func agreement() throws {
            try TestMount.with { mount in
                let pages = 16384
                let before = try Figures(mount)
                let file = try mount.makeBuffer("a", size: pages * 4096)
                try Client.pattern("store", file, 0, "64M", 3)
                #expect(try mount.text(mount.control("a") + "/placement") == "N0=16384\n")
                var expected = [pages, 0], allocated = [pages, 0]
                for target in [1, 0, 1] {
                    try expectAgreement(mount, since: before, pages: expected, allocated: allocated)
                    try mount.store("\(target)", in: mount.control("a") + "/migrate")
                    let line = try mount.word(mount.control("a") + "/migrate")
                    let match = try #require(line.wholeMatch(of: result), "\(line)")
                    #expect(match.1 == "16384" && match.2 == "67108864")
                    #expect(try mount.text(mount.control("a") + "/placement") == "N\(target)=16384\n")
                    try Client.pattern("verify", file, 0, "64M", 3)
                    expected = [0, 0]
                    expected[target] = pages
                    allocated[target] += pages
                }
                try expectAgreement(mount, since: before, pages: expected, allocated: allocated)
                #expect(try mount.numastat(0)["local_node"]! - before.numastat[0]["local_node"]! >= pages)
            }
        }

        private struct Figures {
            let meminfo, vmstat, numastat: [[String: Int]]

            init(_ mount: TestMount) throws {
                meminfo = try (0...1).map { try mount.meminfo($0) }
                vmstat = try (0...1).map { try mount.vmstat($0) }
                numastat = try (0...1).map { try mount.numastat($0) }
            }
        }

        private func expectAgreement(
            _ mount: TestMount, since before: Figures, pages: [Int], allocated: [Int]
        ) throws {
            let now = try Figures(mount)
            for node in 0...1 {
                func grown(_ table: KeyPath<Figures, [[String: Int]]>, _ key: String) -> Int {
                    now[keyPath: table][node][key, default: 0] - before[keyPath: table][node][key, default: 0]
                }
                #expect(grown(\.meminfo, "MemUsed") == pages[node] * 4, "node \(node)")
                #expect(grown(\.meminfo, "MemFree") == -pages[node] * 4, "node \(node)")
                #expect(grown(\.meminfo, "FilePages") == pages[node] * 4, "node \(node)")
                #expect(grown(\.vmstat, "nr_free_pages") == -pages[node], "node \(node)")
                #expect(grown(\.vmstat, "nr_file_pages") == pages[node], "node \(node)")
                #expect(grown(\.numastat, "numa_hit") == allocated[node], "node \(node)")
                #expect(grown(\.numastat, "numa_miss") == 0, "node \(node)")
                #expect(grown(\.vmstat, "numa_hit") == allocated[node], "node \(node)")
            }
        }

        @Test("Part of a buffer moves, and pages says which")
        func partialMigration() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 8 << 20)
                try Client.pattern("store", file, 0, "8M", 3)
                let migrate = mount.control("a") + "/migrate"
                try mount.store("\(1 << 20) \(2 << 20) 1", in: migrate)
                #expect(try mount.placement("a") == [0: 1536, 1: 512])
                let runs = try mount.pages("a")
                #expect(runs.map(\.length).reduce(0, +) == 8 << 20)
                for run in runs {
                    let isInside = run.offset >= 1 << 20 && run.offset + run.length <= 3 << 20
                    #expect(run.node == (isInside ? 1 : 0), "\(run)")
                    #expect(run.physical % 4096 == 0 && run.offset % 4096 == 0 && run.length % 4096 == 0)
                }
                try Client.pattern("verify", file, 0, "8M", 3)
                let before = try mount.text(migrate)
                for (text, error) in [
                    ("7", Errno(rawValue: ENODEV)), ("16777216 4096 1", .invalidArgument), ("0 0 1", .invalidArgument),
                    ("0 99999999999 1", .invalidArgument), ("1 2", .invalidArgument), ("one", .invalidArgument),
                    ("-1", .invalidArgument), ("", .invalidArgument),
                ] {
                    #expect(throws: error, "\(text)") { try mount.store(text, in: migrate) }
                    #expect(try mount.text(migrate) == before)
                }
                try mount.store("async 0", in: migrate)
                #expect(try eventually { try mount.placement("a") == [0: 2048] })
                #expect(try eventually { try mount.text(migrate).hasPrefix("state=done moved=512 ") })
            }
        }

        @Test("A full target is ENOMEM, and what has moved stays moved")
        func fullTarget() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 20)
                try Client.pattern("store", file, 0, "64M", 8)
                try mount.makeBuffer("wall", size: 0, policy: "bind:1")
                let wall = try mount.fill(mount.path + "/buffers/wall", limit: 224 << 20)
                #expect(wall == 224 << 20)
                #expect(throws: Errno.noMemory) { try mount.store("1", in: mount.control("a") + "/migrate") }
                let placement = try mount.placement("a")
                #expect(placement[0, default: 0] + placement[1, default: 0] == 16384)
                #expect(placement[1, default: 0] <= 8192)
                let line = try mount.word(mount.control("a") + "/migrate")
                #expect(line.hasPrefix("state=partial ") || line.hasPrefix("state=failed "), "\(line)")
                try Client.pattern("verify", file, 0, "64M", 8)
            }
        }

        @Test("Everything on a node moves with its own migrate")
        func nodeMigration() throws {
            try TestMount.with { mount in
                for name in ["a", "b"] {
                    let file = try mount.makeBuffer(name, size: 8 << 20, policy: "prefer:1")
                    try Client.pattern("store", file, 0, "8M", 3)
                    #expect(try mount.placement(name) == [1: 2048])
                }
                let migrate = "sys/devices/system/node/node1/cdm/migrate"
                try mount.store("0", in: migrate)
                #expect(try mount.word(migrate).hasPrefix("state=done moved=4096 failed=0 bytes=16777216 "))
                for name in ["a", "b"] {
                    #expect(try mount.placement(name) == [0: 2048])
                    try Client.pattern("verify", mount.path + "/buffers/" + name, 0, "8M", 3)
                }
                #expect(throws: Errno(rawValue: ENODEV)) { try mount.store("9", in: migrate) }
                #expect(throws: Errno.invalidArgument) { try mount.store("x", in: migrate) }
            }
        }

        @Test("Isolation exclusive: the overflow of a full node 0 is turned away")
        func exclusive() throws {
            try TestMount.with { mount in
                let refused = "sys/devices/system/node/node1/cdm/refused"
                try mount.fill(mount.path + "/buffers/wall")
                #expect(try mount.meminfo(1)["MemUsed"] == 0)
                let before = try mount.values(refused)["fallback"]!
                let mapped = try mount.makeBuffer("mapped", size: 1 << 20)
                let touched = try Client.sigbus("store", mapped, 0, "1M")
                #expect(touched["failed"]! >= 256 - 32, "all but what the last frames of node 0 served")
                let afterMapping = try mount.values(refused)["fallback"]!
                #expect(afterMapping > before)
                try mount.makeBuffer("written", size: 0)
                #expect(try mount.fill(mount.path + "/buffers/written", limit: 1 << 20) < 1 << 20)
                #expect(try mount.values(refused)["fallback"]! > afterMapping)
                #expect(try mount.meminfo(1)["MemUsed"] == 0)
                #expect(try mount.allocations(1) == 0)

                let bound = try mount.makeBuffer("bound", size: 1 << 20, policy: "bind:1")
                try Client.pattern("store", bound, 0, "1M", 1)
                #expect(try mount.placement("bound") == [1: 256])

                try mount.store("none", in: "sys/devices/system/node/node1/cdm/isolation")
                #expect(try Client.sigbus("store", mapped, 0, "1M")["failed"] == 0)
                #expect(try mount.placement("mapped")[1, default: 0] >= 256 - 32)
            }
        }

        @Test("Isolation none: the same overflow lands on node 1")
        func overflow() throws {
            try TestMount.with(Machines.make(isolation: "none")) { mount in
                let file = try mount.makeBuffer("a", size: 0)
                #expect(try mount.fill(file, limit: 288 << 20) == 288 << 20)
                let placement = try mount.placement("a")
                #expect(placement[0]! + placement[1]! == 288 << 8)
                #expect(placement[1]! >= 32 << 8)
                #expect(try mount.numastat(1)["numa_miss"] == placement[1])
                #expect(try mount.numastat(0)["numa_foreign"] == placement[1])
                #expect(try mount.values("sys/devices/system/node/node1/cdm/refused")["fallback"] == 0)
            }
        }

        @Test("bind stays within its node, prefer falls back to RAM")
        func boundAndPreferred() throws {
            try TestMount.with { mount in
                let bound = try mount.makeBuffer("bound", size: 0, policy: "bind:1")
                let total = try mount.fill(bound)
                #expect(total > 240 << 20 && total <= 256 << 20)
                #expect(try mount.placement("bound") == [1: total / 4096])
                #expect(
                    try Client.sigbus("load", mount.makeBuffer("b", size: 1 << 20, policy: "bind:1"), 0, "1M")[
                        "failed"]! > 0)
                #expect(try mount.meminfo(0)["MemUsed"] == 0)
                let preferred = try mount.makeBuffer("preferred", size: 1 << 20, policy: "prefer:1")
                try Client.pattern("store", preferred, 0, "1M", 1)
                #expect(try mount.placement("preferred")[0, default: 0] >= 256 - 32)
            }
        }

        @Test("interleave spreads evenly, by the page")
        func interleaved() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 32 << 20, policy: "interleave:0-1")
                try Client.pattern("store", file, 0, "32M", 1)
                #expect(try mount.placement("a") == [0: 4096, 1: 4096])
                #expect(try mount.numastat(0)["interleave_hit"] == 4096)
                #expect(try mount.numastat(1)["interleave_hit"] == 4096)
                try Client.pattern("verify", file, 0, "32M", 1)
            }
        }

        @Test("Pages that fallocate made behind the end move, too")
        func behindTheEnd() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 0)
                #expect(try run(["fallocate", "-n", "-l", "4M", file]).succeeded)
                try mount.store("1", in: mount.control("a") + "/migrate")
                #expect(try mount.placement("a") == [1: 1024])
            }
        }
    }
}
