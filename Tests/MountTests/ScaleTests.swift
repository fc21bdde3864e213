import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Many buffers, a large one, and many who use one.
    @Suite("Scale")
    struct ScaleTests {
        /// Resident memory of the daemon that is its own, bytes.
        private func resident(_ mount: TestMount) throws -> Int {
            let pid = try mount.text("sys/kernel/cdm/pid").trimmingCharacters(in: .whitespacesAndNewlines)
            let status = try procfs("\(pid)/status")
            let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("RssAnon:") })
            return try #require(Int(line.split(whereSeparator: { " \t".contains($0) })[1])) << 10
        }

        @Test("20,000 buffers: each is listed once whatever comes and goes meanwhile, and their memory goes back")
        func manyBuffers() throws {
            try TestMount.with { mount in
                let folder = mount.path + "/buffers/many"
                try check(unsafe mkdir(folder, 0o755))
                let count = 20_000
                // What is made once stays.
                try Client.scale("make", folder, 0, 100)
                let before = try resident(mount)
                try Client.scale("make", folder, 100, count - 100)
                let peak = try resident(mount)
                #expect(peak - before < count * 2048, "\((peak - before) / count) bytes a buffer")
                let outcome = try Client.scale("list", folder, count)
                #expect(outcome["listed"] == count, "\(outcome.output)")
                #expect(outcome["strange"] == 0 && outcome["repeated"] == 0, "\(outcome.output)")
                let controls = try FileManager.default.contentsOfDirectory(
                    atPath: mount.path + "/sys/kernel/cdm/buffers/many")
                #expect(Set(controls).count == count && controls.count == count)
                #expect(try mount.text("sys/kernel/cdm/buffers/many/19999/size") == "0\n")
                try Client.scale("remove", folder, count)
                #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
                let isBack = try eventually(within: 20) { try resident(mount) < before + (peak - before) / 2 }
                let after = try resident(mount)
                #expect(isBack, "\(before) bytes before, \(peak) then, \(after) now")
            }
        }

        @Test("What the kernel knows the controls of 5,000 buffers by takes little")
        func manyControls() throws {
            try TestMount.with { mount in
                try check(unsafe mkdir(mount.path + "/buffers/many", 0o755))
                let count = 5000
                try Client.scale("make", mount.path + "/buffers/many", 0, count)
                let before = try resident(mount)
                let listing = try run(["ls", "-l", mount.path + "/sys/kernel/cdm/buffers/many"])
                #expect(listing.output.split(separator: "\n").count == count + 1)
                let rise = try resident(mount) - before
                #expect(rise < count * 2048, "\(rise / count) bytes a directory of controls")
                try Client.scale("remove", mount.path + "/buffers/many", count)
                // The kernel would keep what it knows as long as it has memory.
                let isBack = try eventually(within: 20) { try resident(mount) < before }
                let after = try resident(mount)
                #expect(isBack, "\(before) bytes before, \(after) now")
            }
        }

        @Test("Touches anywhere in a buffer of 16 TiB, of which nothing is left behind")
        func sixteenTebibytes() throws {
            try TestMount.with(Machines.large) { mount in
                let size = 16 << 40, free = try mount.meminfo(0)["MemFree"]!
                let file = try mount.makeBuffer("a", size: size)
                let outcome = try Client.scale("anywhere", file, size, 2000, 7)
                #expect(outcome["lost"] == 0)
                let pages = try mount.placement("a").values.reduce(0, +)
                #expect(pages >= 2000)
                #expect(try status(file).st_size == size && status(file).st_blocks == pages * 8)
                #expect(try mount.pages("a").reduce(0) { $0 + $1.length } == pages << 12)
                try mount.store("1", in: mount.control("a") + "/migrate")
                #expect(try mount.placement("a") == [1: pages])
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                try check(fallocate(descriptor.rawValue, mode, off_t(size / 2), off_t(size / 2)))
                let half = try mount.placement("a").values.reduce(0, +)
                #expect(half < pages && half > pages / 4)
                #expect(lseek(descriptor.rawValue, off_t(size / 2), Int32(SEEK_DATA)) == -1)
                try descriptor.close()
                try mount.store("0", in: mount.control("a") + "/migrate")
                #expect(try mount.placement("a") == [0: half])
                try check(unsafe unlink(file))
                #expect(try eventually(within: 20) { try mount.meminfo(0)["MemFree"] == free })
            }
        }

        @Test("64 nodes of 1 TiB: pages on all of them, one is drained, and the daemon stays small")
        func sixtyFourNodes() throws {
            let topology =
                "block_size = \"64G\"\n"
                + (0..<64).map { Machines.node($0, $0 == 0 ? "ram" : "coherent", "1T") }.joined()
            try TestMount.with(topology) { mount in
                #expect(try mount.word("sys/devices/system/node/has_memory") == "0-63")
                #expect(try mount.meminfo(63)["MemTotal"] == 1 << 30)
                let before = try resident(mount)
                let file = try mount.makeBuffer("a", size: 64 << 20, policy: "interleave:0-63")
                try Client.pattern("store", file, 0, "64M", 1)
                let even = Dictionary(uniqueKeysWithValues: (0..<64).map { ($0, 256) })
                #expect(try mount.placement("a") == even)
                try mount.store("offline", in: "sys/class/cdm/cdm62/state")
                #expect(try mount.placement("a")[63] == nil && mount.placement("a").values.reduce(0, +) == 16384)
                #expect(try mount.word("sys/devices/system/node/has_memory") == "0-62")
                try mount.store("1", in: mount.control("a") + "/migrate")
                #expect(try mount.placement("a") == [1: 16384])
                try Client.pattern("verify", file, 0, "64M", 1)
                try mount.store("online", in: "sys/class/cdm/cdm62/state")
                let rise = try resident(mount) - before
                #expect(rise < 64 << 20, "\(rise) bytes")
            }
        }

        @Test("300 processes map one buffer and count in every page of it")
        func manyProcesses() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 1 << 20)
                let outcome = try Client.scale("processes", file, 300)
                #expect(outcome["failed"] == 0 && outcome["wrong"] == 0, "\(outcome.output)")
            }
        }

        @Test(
            "1,000 processes keep one buffer mapped while it moves and goes offline; blockers name them all",
            arguments: ["tracked", "direct"])
        func heldByMany(mapping: String) throws {
            try TestMount.with(options: ["mapping=\(mapping)"]) { mount in
                let file = try mount.makeBuffer("a", size: 0, policy: "bind:1")
                try check(unsafe truncate(file, 64 * 4096))
                let crowd = try Client.scale.start("hold", file, 1000)
                #expect(try crowd.line(within: 60) == "ready")
                for node in [0, 1] {
                    try mount.store("\(node)", in: mount.control("a") + "/migrate")
                    #expect(try mount.placement("a") == [node: 64])
                }
                try mount.store("1", in: mount.control("a") + "/pinned")
                let blockers = try mount.word("sys/devices/system/node/node1/cdm/blockers").split(separator: "\n")
                let holders = Set(blockers.flatMap { $0.split(separator: " ").last!.split(separator: ",") })
                // The one that started them has it open, not mapped.
                #expect(holders.count == 1000, "\(holders.count)")
                try mount.store("0", in: mount.control("a") + "/pinned")
                try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                #expect(try mount.placement("a") == [0: 64])
                crowd.kill(SIGTERM)
                let outcome = try crowd.finish(within: 60)
                #expect(outcome.output == "failed=0\nwrong=0\n", "\(outcome.output) \(outcome.errors)")
                try mount.store("online", in: "sys/class/cdm/cdm0/state")
            }
        }
    }
}
