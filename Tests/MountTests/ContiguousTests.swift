import CLinux
import Foundation
import SystemPackage
import Testing

private let node1 = "sys/devices/system/node/node1"

extension Mounts {
    /// Buffers in a node's contiguous share, as programs see them.
    @Suite("Contiguous buffers")
    struct ContiguousTests {
        private let topology = Machines.make(contiguous: "64M")

        private func share(_ mount: TestMount) throws -> [Int] {
            let figures = try mount.values(node1 + "/cdm/contiguous")
            #expect(try mount.vmstat(1)["nr_free_cma"] == figures["free"])
            return ["total", "free", "largest"].map { figures[$0] ?? -1 }
        }

        private func contiguous(_ buffer: String) -> String { "sys/kernel/cdm/buffers/\(buffer)/contiguous" }

        @Test("A program's data in one run of frames, and the share's figures")
        func data() throws {
            try TestMount.with(topology) { mount in
                #expect(try share(mount) == [16384, 16384, 16384])
                #expect(try mount.meminfo(1)["MemFree"] == 256 << 10)
                let file = try mount.makeBuffer("a", size: 20 << 20)
                #expect(try mount.word(contiguous("a")) == "none")
                try mount.store("1", in: contiguous("a"))
                // RAM and the node's other memory lie in front.
                let start = (256 + 192) << 20
                #expect(
                    try mount.word(contiguous("a"))
                        == "1 0x\(String(start, radix: 16)) 0x\(String(20 << 20, radix: 16))")
                #expect(try share(mount) == [16384, 11264, 11264])
                #expect(try mount.meminfo(1)["MemUsed"] == 20 << 10 && mount.placement("a") == [1: 5120])
                try Client.pattern("store", file, 0, "20M", 3)
                try Client.pattern("verify", file, 0, "20M", 3)
                try Client.pattern("read", file, 0, "20M", 3)
                var next = start
                for run in try mount.pages("a") {
                    #expect(run.physical == next && run.node == 1 && !run.flags.contains("pinned"))
                    next += run.length
                }
                #expect(next == start + 20 << 20)
                try mount.expectAgreement()
            }
        }

        @Test("It moves as a whole or not at all, its size is sealed, and a hole is zeroed in place")
        func whole() throws {
            try TestMount.with(topology) { mount in
                let file = try mount.makeBuffer("a", size: 8 << 20)
                try mount.store("1", in: contiguous("a"))
                var place = try mount.word(contiguous("a"))
                try Client.pattern("store", file, 0, "8M", 4)
                for control in [mount.control("a"), node1 + "/cdm"] {
                    #expect(throws: Errno.noMemory) { try mount.store("0", in: control + "/migrate") }
                    #expect(try mount.word(control + "/migrate").hasPrefix("state=failed moved=0 failed=2048 "))
                }
                #expect(try mount.word(contiguous("a")) == place)
                // 448 MiB are 28 blocks of 16 MiB. Its block goes, and it to the next.
                try mount.store("offline", in: "sys/devices/system/memory/memory28/state")
                #expect(try share(mount) == [12288, 10240, 10240])
                #expect(try mount.word(contiguous("a")) == "1 0x\(String(464 << 20, radix: 16)) 0x800000")
                place = try mount.word(contiguous("a"))
                try Client.pattern("verify", file, 0, "8M", 4)
                // The others go, too, and there is no place left.
                for block in [31, 30] {
                    try mount.store("offline", in: "sys/devices/system/memory/memory\(block)/state")
                }
                #expect(throws: Errno.resourceBusy) {
                    try mount.store("offline", in: "sys/devices/system/memory/memory29/state")
                }
                #expect(
                    try mount.text(node1 + "/cdm/blockers")
                        == "0x\(String(464 << 20, radix: 16)) 0x800000 contiguous a -\n")
                for block in [28, 30, 31] {
                    try mount.store("online", in: "sys/devices/system/memory/memory\(block)/state")
                }
                #expect(try share(mount)[1] == 14336)
                for size: off_t in [0, 4096, 9 << 20] {
                    #expect(throws: Errno.notPermitted) {
                        guard unsafe truncate(file, size) == 0 else { throw Errno(rawValue: errno) }
                    }
                }
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                defer { try? descriptor.close() }
                #expect(throws: Errno.notPermitted) { try descriptor.writeAll(toAbsoluteOffset: 8 << 20, [1]) }
                try Client.pattern("verify", file, 0, "8M", 4)
                try #require(
                    fallocate(descriptor.rawValue, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 2 << 20) == 0)
                try Client.pattern("zeros", file, "1M", "2M", 0)
                try Client.pattern("verify", file, "3M", "5M", 4)
                #expect(try mount.word(contiguous("a")) == place && mount.placement("a") == [1: 2048])
                try mount.expectAgreement()
            }
        }

        @Test("A full share is ENOMEM; others never get its frames, even when the node is full")
        func full() throws {
            try TestMount.with(topology) { mount in
                for name in ["a", "b"] {
                    try mount.makeBuffer(name, size: 32 << 20)
                    try mount.store("1", in: contiguous(name))
                }
                try mount.makeBuffer("c", size: 4096)
                #expect(throws: Errno.noMemory) { try mount.store("1", in: contiguous("c")) }
                try FileManager.default.removeItem(atPath: mount.path + "/buffers/a")
                // While it goes, two files need not agree.
                #expect(try eventually { try mount.values(node1 + "/cdm/contiguous")["free"] == 8192 })
                #expect(try share(mount) == [16384, 8192, 8192])
                let crowd = try mount.makeBuffer("crowd", size: 0, policy: "bind:1")
                #expect(try mount.fill(crowd) == 192 << 20)
                #expect(try mount.pages("crowd").allSatisfy { $0.physical + $0.length <= 448 << 20 })
                #expect(try share(mount) == [16384, 8192, 8192] && mount.meminfo(1)["MemFree"] == 32 << 10)
                try mount.store("1000", in: node1 + "/hugepages/hugepages-2048kB/nr_hugepages")
                #expect(try mount.word(node1 + "/hugepages/hugepages-2048kB/nr_hugepages") == "0")
                try mount.store("1", in: contiguous("c"))
                try mount.expectAgreement()
            }
        }

        /// Two devices, each with half of its memory in its share.
        private static let pair =
            "block_size = \"16M\"\n" + Machines.node(0, "ram", "128M", cpus: "all")
            + (1...2).map { Machines.node($0, "coherent", "64M") + "contiguous = \"32M\"\n" }.joined()

        @Test("It moves between devices under a program that stores to it, and force takes it with who maps it")
        func between() throws {
            try TestMount.with(Self.pair, checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 24 << 20)
                try mount.store("1", in: contiguous("a"))
                let client = try Client.increment.start(file, "24M", 2)
                #expect(try client.line() == "ready")
                let migrate = mount.control("a") + "/migrate"
                for round in 0..<6 {
                    let target = round % 2 == 0 ? 2 : 1
                    // A part of it is all of it.
                    try mount.store(round < 3 ? "\(target)" : "0x100000 4096 \(target)", in: migrate)
                    #expect(try mount.word(contiguous("a")).hasPrefix("\(target) "))
                    #expect(try mount.word(migrate).hasPrefix("state=done moved=6144 failed=0 "))
                    #expect(try mount.placement("a") == [target: 6144])
                }
                try mount.expectAgreement()
                // A device that goes hands it on.
                try mount.store("force", in: "sys/class/cdm/cdm0/remove")
                #expect(try mount.word(contiguous("a")).hasPrefix("2 "))
                client.kill(SIGTERM)
                let outcome = try client.finish()
                #expect(outcome.succeeded, "\(outcome.ending) \(outcome.output) \(outcome.errors)")
                #expect(outcome["counted"] == outcome["found"])

                // There is no other share now.
                let victim = try Client.increment.start(file, "1M", 1)
                #expect(try victim.line() == "ready")
                let blockers = "sys/devices/system/node/node2/cdm/blockers"
                let physical = String((128 + 64 + 32) << 20, radix: 16)
                #expect(try mount.text(blockers) == "0x\(physical) 0x1800000 contiguous a \(victim.pid)\n")
                #expect(throws: Errno.resourceBusy) { try mount.store("offline", in: "sys/class/cdm/cdm1/state") }
                let reader = try UeventReader(mount)
                try mount.store("force", in: "sys/class/cdm/cdm1/remove")
                #expect(try victim.finish().ending == .killed(SIGKILL))
                #expect(try reader.events().compactMap { $0["KILLED"] } == ["\(victim.pid)"])
                #expect(try mount.word(contiguous("a")) == "none")
            }
        }

        @Test("Giving it back frees it while it is mapped, and refusals change nothing")
        func back() throws {
            try TestMount.with(topology) { mount in
                let file = try mount.makeBuffer("a", size: 4 << 20)
                for (text, error) in [
                    ("", Errno.invalidArgument), ("x", .invalidArgument), ("1 2", .invalidArgument),
                    ("0", .invalidArgument), ("7", .operationNotSupportedByDevice),
                    ("99999999999999999999999", .outOfRange),
                ] {
                    #expect(throws: error, "\(text)") { try mount.store(text, in: contiguous("a")) }
                }
                try mount.store("none", in: contiguous("a"))
                try mount.makeBuffer("empty", size: 0)
                #expect(throws: Errno.invalidArgument) { try mount.store("1", in: contiguous("empty")) }
                #expect(throws: Errno.notPermitted) { try mount.store("1", in: "sys/class/cdm/cdm0/buffer/contiguous") }
                try mount.store("1", in: contiguous("a"))
                #expect(throws: Errno.resourceBusy) { try mount.store("1", in: contiguous("a")) }
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                defer { try? descriptor.close() }
                let address = unsafe mmap(nil, 4 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.rawValue, 0)!
                defer { unsafe munmap(address, 4 << 20) }
                for offset in stride(from: 0, to: 4 << 20, by: 4096) {
                    unsafe address.storeBytes(of: 9, toByteOffset: offset, as: UInt8.self)
                }
                try mount.store("none", in: contiguous("a"))
                #expect(try mount.word(contiguous("a")) == "none" && share(mount) == [16384, 16384, 16384])
                #expect(unsafe address.load(fromByteOffset: 8192, as: UInt8.self) == 0)
                #expect(try mount.placement("a").keys.sorted() == [0])
                try mount.expectAgreement()
            }
        }
    }
}
