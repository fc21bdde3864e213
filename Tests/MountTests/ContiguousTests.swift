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
                    #expect(run.physical == next && run.node == 1 && run.flags.contains("pinned"))
                    next += run.length
                }
                #expect(next == start + 20 << 20)
                try mount.expectAgreement()
            }
        }

        @Test("Nothing moves it, its size is sealed, and a hole is zeroed in place")
        func pinned() throws {
            try TestMount.with(topology) { mount in
                let file = try mount.makeBuffer("a", size: 8 << 20)
                try mount.store("1", in: contiguous("a"))
                let place = try mount.word(contiguous("a"))
                try Client.pattern("store", file, 0, "8M", 4)
                for control in [mount.control("a"), node1 + "/cdm"] {
                    #expect(throws: Errno.resourceBusy) { try mount.store("0", in: control + "/migrate") }
                    #expect(try mount.word(control + "/migrate").hasPrefix("state=failed moved=0 failed=2048 "))
                }
                // 448 MiB are 28 blocks of 16 MiB.
                #expect(throws: Errno.resourceBusy) {
                    try mount.store("offline", in: "sys/devices/system/memory/memory28/state")
                }
                try mount.store("offline", in: "sys/devices/system/memory/memory29/state")
                #expect(try share(mount) == [12288, 10240, 8192])
                try mount.store("online", in: "sys/devices/system/memory/memory29/state")
                #expect(try share(mount) == [16384, 14336, 14336])
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
                #expect(try eventually { try share(mount) == [16384, 8192, 8192] })
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
