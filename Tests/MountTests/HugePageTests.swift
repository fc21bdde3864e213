import CLinux
import Foundation
import SystemPackage
import Testing

private func pool(_ node: Int, _ file: String = "nr") -> String {
    "sys/devices/system/node/node\(node)/hugepages/hugepages-2048kB/\(file)_hugepages"
}

extension Mounts {
    /// Pools of huge pages, buffers made of them, compaction and reclaim, as programs see them.
    @Suite("Huge pages")
    struct HugePageTests {
        @Test("nr_hugepages takes what fits, and meminfo counts as Linux does")
        func reserving() throws {
            try TestMount.with { mount in
                try mount.store("4", in: pool(1))
                #expect(try mount.word(pool(1)) == "4")
                #expect(try mount.word(pool(1, "free")) == "4" && mount.word(pool(1, "surplus")) == "0")
                let figures = try mount.meminfo(1)
                #expect(figures["HugePages_Total"] == 4 && figures["HugePages_Free"] == 4)
                #expect(figures["MemFree"] == 248 << 10 && figures["MemUsed"] == 8 << 10 && figures["FilePages"] == 0)
                #expect(
                    try mount.text("sys/devices/system/node/node1/meminfo").contains("Node 1 HugePages_Total:     4\n"))
                try mount.store("99999999999", in: pool(1))
                #expect(try mount.word(pool(1)) == "128")
                for text in ["", "x", "-1", "1 2", "0x10", "99999999999999999999999"] {
                    let error: Errno = text.hasPrefix("999") ? .outOfRange : .invalidArgument
                    #expect(throws: error, "\(text)") { try mount.store(text, in: pool(1)) }
                }
                #expect(try mount.word(pool(1)) == "128")
                try mount.expectAgreement()
                try mount.store("0", in: pool(1))
                #expect(try mount.meminfo(1)["MemFree"] == 256 << 10)
            }
        }

        @Test("A buffer of reserved pages: data, SIGBUS when the pool is empty, migration, offlining")
        func pooled() throws {
            try TestMount.with(options: ["huge=pool"]) { mount in
                try mount.store("8", in: pool(1))
                let file = try mount.makeBuffer("a", size: 20 << 20, policy: "bind:1")
                #expect(try mount.word(mount.control("a") + "/huge") == "never within_size always [pool]")
                try Client.pattern("store", file, 0, "16M", 5)
                #expect(try mount.pages("a").allSatisfy { $0.flags.contains("huge") && $0.physical % (2 << 20) == 0 })
                #expect(try mount.placement("a") == [1: 4096] && mount.word(pool(1, "free")) == "0")
                #expect(try Client.sigbus("store", file, "16M", "4M")["failed"]! > 0)
                #expect(throws: Errno.resourceBusy) { try mount.store("never", in: mount.control("a") + "/huge") }
                try Client.pattern("verify", file, 0, "16M", 5)
                try mount.expectAgreement()
                try mount.store("5", in: pool(1))
                #expect(try mount.word(pool(1)) == "8" && mount.word(pool(1, "surplus")) == "3")
                // Node 0 has no pool: it gains fresh pages for those that come.
                try mount.store(
                    "0 4M 0".replacingOccurrences(of: "4M", with: "4194304"), in: mount.control("a") + "/migrate")
                #expect(try mount.placement("a") == [0: 1024, 1: 3072] && mount.word(pool(0)) == "2")
                try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                #expect(try mount.placement("a") == [0: 4096])
                try Client.pattern("verify", file, 0, "16M", 5)
                try mount.store("online", in: "sys/class/cdm/cdm0/state")
                #expect(throws: Errno.invalidArgument) {
                    guard unsafe truncate(file, 4096) == 0 else { throw Errno(rawValue: errno) }
                }
                try FileManager.default.removeItem(atPath: file)
                for node in 0...1 { try mount.store("0", in: pool(node)) }
                #expect(try eventually { try mount.word(pool(0)) == "0" && mount.word(pool(1)) == "0" })
            }
        }

        @Test("huge=always: whole until a hole is punched, and moved whole")
        func transparent() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 8 << 20)
                try mount.store("always", in: mount.control("a") + "/huge")
                #expect(throws: Errno.invalidArgument) { try mount.store("advise", in: mount.control("a") + "/huge") }
                try Client.pattern("store", file, 0, "8M", 6)
                #expect(try mount.meminfo(0)["ShmemHugePages"] == 8192)
                #expect(try mount.vmstat(0)["nr_shmem_hugepages"] == 4)
                try mount.store("1", in: mount.control("a") + "/migrate")
                #expect(try mount.meminfo(1)["ShmemHugePages"] == 8192 && mount.placement("a") == [1: 2048])
                try Client.pattern("verify", file, 0, "8M", 6)
                #expect(try run(["fallocate", "-p", "-o", "2M", "-l", "4K", file]).succeeded)
                #expect(try mount.meminfo(1)["ShmemHugePages"] == 6144 && mount.placement("a") == [1: 2047])
                #expect(
                    try mount.pages("a").filter { $0.flags.contains("huge") }.reduce(0) { $0 + $1.length } == 6 << 20)
                try Client.pattern("zeros", file, "2M", "4K", 6)
                try Client.pattern("verify", file, 0, "2M", 6)
                try Client.pattern("verify", file, (2 << 20) + 4096, (6 << 20) - 4096, 6)
                try mount.expectAgreement()
            }
        }

        @Test("Compaction brings huge pages back, and loses nothing")
        func compaction() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 0, policy: "bind:1")
                #expect(try run(["fallocate", "-l", "256M", file]).succeeded)
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                try descriptor.closeAfter {
                    // One page of each MiB stays.
                    for megabyte in 0..<256 {
                        let start = off_t(megabyte << 20)
                        let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                        guard fallocate(descriptor.rawValue, mode, start + 4096, (1 << 20) - 4096) == 0 else {
                            throw Errno(rawValue: errno)
                        }
                    }
                }
                for megabyte in stride(from: 0, to: 256, by: 8) {
                    try Client.pattern("store", file, megabyte << 20, 4096, megabyte)
                }
                try mount.store("128", in: pool(1))
                #expect(try mount.word(pool(1)) == "0")
                try mount.store("1", in: "sys/devices/system/node/node1/compact")
                try mount.store("128", in: pool(1))
                // What is in use stands as close as can be; the stores above populated their surroundings, too.
                let used = try mount.placement("a")[1]!
                #expect(used >= 256)
                #expect(try mount.word(pool(1)) == "\(128 - (used + 511) / 512)")
                for megabyte in stride(from: 0, to: 256, by: 8) {
                    try Client.pattern("verify", file, megabyte << 20, 4096, megabyte)
                }
                try mount.expectAgreement()
                try mount.store("0", in: pool(1))
            }
        }

        @Test("reclaim frees zeros, says EAGAIN for less, and demotes where it may")
        func reclaim() throws {
            try TestMount.with(Machines.make(isolation: "none")) { mount in
                let reclaim = "sys/devices/system/node/node0/reclaim"
                let data = try mount.makeBuffer("data", size: 4 << 20)
                try Client.pattern("store", data, 0, "4M", 8)
                let zeros = try mount.makeBuffer("zeros", size: 4 << 20)
                try Client.pattern("zeros", zeros, 0, "4M", 0)
                #expect(try mount.meminfo(0)["FilePages"] == 8192)
                try mount.store("1M swappiness=60", in: reclaim)
                #expect(try mount.meminfo(0)["FilePages"] == 7168)
                #expect(throws: Errno.resourceTemporarilyUnavailable) { try mount.store("8m", in: reclaim) }
                #expect(try mount.meminfo(0)["FilePages"] == 4096)
                for text in ["", "x", "1M swappiness=201", "1M swappiness", "1M x=1", "swappiness=1"] {
                    #expect(throws: Errno.invalidArgument, "\(text)") { try mount.store(text, in: reclaim) }
                }
                try mount.store("1", in: "sys/kernel/mm/numa/demotion_enabled")
                try mount.store("2M swappiness=max", in: reclaim)
                #expect(try mount.placement("data") == [0: 512, 1: 512])
                #expect(try mount.vmstat(0)["pgdemote_proactive"] == 512)
                // An isolated node is for those who name it.
                try mount.store("exclusive", in: "sys/devices/system/node/node1/cdm/isolation")
                #expect(throws: Errno.resourceTemporarilyUnavailable) { try mount.store("4K", in: reclaim) }
                try Client.pattern("verify", data, 0, "4M", 8)
                try Client.pattern("zeros", zeros, 0, "4M", 0)
            }
        }
    }
}
