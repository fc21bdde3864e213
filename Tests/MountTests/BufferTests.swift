import CLinux
import Foundation
import SystemPackage
import Testing

/// Calls that report through errno, as statements that throw it.
func check(_ status: @autoclosure () -> Int32) throws {
    if status() < 0 { throw Errno(rawValue: errno) }
}

extension Mounts {
    /// A buffer is an ordinary file.
    @Suite("Buffers")
    struct BufferTests {
        @Test("Creating and opening with every flag")
        func opening() throws {
            try TestMount.with { mount in
                let path = FilePath(mount.path + "/buffers/a")
                #expect(throws: Errno.noSuchFileOrDirectory) { try FileDescriptor.open(path, .readOnly).close() }
                let create: FileDescriptor.OpenOptions = [.create, .exclusiveCreate]
                let first = try FileDescriptor.open(path, .readWrite, options: create, permissions: .ownerReadWrite)
                #expect(try first.writeAll("hello".utf8) == 5)
                #expect(throws: Errno.fileExists) {
                    try FileDescriptor.open(path, .readWrite, options: create, permissions: .ownerReadWrite).close()
                }
                let appending = try FileDescriptor.open(path, .writeOnly, options: .append)
                try appending.writeAll(" world".utf8)
                try appending.close()
                #expect(try mount.text("buffers/a") == "hello world")
                #expect(throws: Errno.badFileDescriptor) {
                    let readOnly = try FileDescriptor.open(path, .readOnly)
                    defer { try? readOnly.close() }
                    try readOnly.writeAll("x".utf8)
                }
                try FileDescriptor.open(path, .writeOnly, options: .truncate).close()
                #expect(try mount.entry("buffers/a").status.st_size == 0)
                #expect(try mount.text(mount.control("a") + "/resident") == "0\n")
                try first.close()
                #expect(throws: Errno.isDirectory) {
                    try FileDescriptor.open(FilePath(mount.path + "/buffers"), .writeOnly).close()
                }
                #expect(throws: Errno.fileNameTooLong) {
                    try mount.makeBuffer(String(repeating: "n", count: 256), size: 0)
                }
                // Any byte but / and NUL may stand in a name.
                for name in ["with space", "ünï", ".hidden", String(repeating: "n", count: 255)] {
                    try mount.makeBuffer(name, size: 4096)
                    #expect(try mount.text(mount.control(name) + "/size") == "4096\n")
                }
            }
        }

        @Test("Mappings, shared and private, read(2) and write(2) show one memory")
        func mappings() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 8 << 20)
                try Client.pattern("zeros", file, 0, "8M", 1)
                try Client.pattern("store", file, 0, "8M", 1)
                try Client.pattern("verify", file, 0, "8M", 1)
                try Client.pattern("read", file, 0, "8M", 1)
                try Client.pattern("private", file, 0, "8M", 1)
                try Client.pattern("write", file, "1M", "2M", 2)
                try Client.pattern("verify", file, "1M", "2M", 2)
                try Client.pattern("verify", file, "3M", "5M", 1)
                try Client.share(file, "4M")
            }
        }

        @Test("Random operations do what they do on an ordinary file", arguments: [1, 2, 3])
        func randomOperations(seed: Int) throws {
            let ordinary = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: ordinary) }
            try TestMount.with { mount in
                try Client.fsx(mount.path + "/buffers/a", ordinary + "/a", seed, 1500)
            }
        }

        @Test(
            "fio's own verification", .enabled(if: Host.has("fio"), "fio is not installed"),
            arguments: ["mmap", "psync"])
        func fio(engine: String) throws {
            try TestMount.with { mount in
                let outcome = try run(
                    [
                        "fio", "--name=verify", "--verify_state_save=0", "--filename=\(mount.path)/buffers/a",
                        "--size=16M", "--bs=4k-64k",
                        "--rw=randwrite", "--ioengine=\(engine)", "--verify=crc32c", "--verify_fatal=1", "--randseed=7",
                        "--output-format=terse",
                    ], within: 60)
                #expect(outcome.succeeded, "\(outcome.errors) \(outcome.output)")
            }
        }

        @Test("Holes", arguments: ["64M", "1G"])
        func holes(size: String) throws {
            try TestMount.with { mount throws in
                #expect(try Client.sparse(mount.path + "/buffers/a", size)["islands"] == 3)
            }
        }

        @Test("Punching a hole frees its frames, truncation too")
        func freeing() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 8 << 20)
                let free = try mount.meminfo(0)["MemFree"]!
                try mount.fill(file, limit: 8 << 20)
                #expect(try mount.placement("a") == [0: 2048])
                #expect(try mount.meminfo(0)["MemFree"] == free - 8192)
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                try descriptor.closeAfter {
                    let punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                    try check(fallocate(descriptor.rawValue, punch, 1 << 20, 2 << 20))
                    #expect(try mount.placement("a") == [0: 1536])
                    #expect(try mount.meminfo(0)["MemFree"] == free - 6144)
                    #expect(try mount.word(mount.control("a") + "/resident") == "\(6 << 20)")
                    #expect(try mount.pages("a").map(\.length).reduce(0, +) == 6 << 20)
                    try check(ftruncate(descriptor.rawValue, 1 << 20))
                    #expect(try mount.placement("a") == [0: 256])
                    #expect(try mount.meminfo(0)["MemFree"] == free - 1024)
                    try check(ftruncate(descriptor.rawValue, 0))
                    #expect(try mount.meminfo(0)["MemFree"] == free)
                    #expect(fallocate(descriptor.rawValue, FALLOC_FL_PUNCH_HOLE, 0, 4096) == -1)
                    #expect(errno == EOPNOTSUPP, "punching needs FALLOC_FL_KEEP_SIZE")
                    #expect(fallocate(descriptor.rawValue, 0, 0, 0) == -1 && errno == EINVAL)
                    try check(fallocate(descriptor.rawValue, 0, 0, 1 << 20))
                    #expect(try mount.entry("buffers/a").status.st_size == 1 << 20)
                    try check(fallocate(descriptor.rawValue, FALLOC_FL_KEEP_SIZE, 0, 2 << 20))
                    #expect(try mount.entry("buffers/a").status.st_size == 1 << 20)
                }
            }
        }

        @Test("Unlinked while mapped: the memory stays until the mapping is gone")
        func unlinkedWhileMapped() throws {
            try TestMount.with { mount in
                let free = try mount.meminfo(0)["MemFree"]!
                let file = try mount.makeBuffer("a", size: 16 << 20)
                let client = try Client.increment.start(file, "16M", 1)
                #expect(try client.line() == "ready")
                try check(unsafe unlink(file))
                #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry("buffers/a") }
                #expect(try mount.meminfo(0)["MemFree"] == free - 16384)
                client.kill(SIGTERM)
                let outcome = try client.finish()
                #expect(outcome.succeeded, "\(outcome.output) \(outcome.errors)")
                #expect(try eventually { try mount.meminfo(0)["MemFree"] == free })
            }
        }

        @Test("Timestamps")
        func timestamps() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 4096)
                var times = [timespec(tv_sec: 1, tv_nsec: 2), timespec(tv_sec: 3, tv_nsec: 999_999_999)]
                try check(unsafe utimensat(AT_FDCWD, file, &times, 0))
                let set = try mount.entry("buffers/a").status
                #expect(set.st_atim.tv_sec == 1 && set.st_atim.tv_nsec == 2)
                #expect(set.st_mtim.tv_sec == 3 && set.st_mtim.tv_nsec == 999_999_999)
                try mount.fill(file, limit: 10)
                let written = try mount.entry("buffers/a").status
                #expect(written.st_mtim.tv_sec > 1_000_000_000, "write(2) sets the time of modification")
                try check(unsafe chmod(file, 0o640))
                let changed = try mount.entry("buffers/a").status
                #expect(
                    (changed.st_ctim.tv_sec, changed.st_ctim.tv_nsec) >= (
                        written.st_ctim.tv_sec, written.st_ctim.tv_nsec
                    ))
                #expect(changed.st_mtim.tv_nsec == written.st_mtim.tv_nsec)
            }
        }

        @Test("statfs(2) and fsync(2)")
        func fileSystem() throws {
            try TestMount.with { mount in
                func figures() throws -> statvfs {
                    var figures = statvfs()
                    try check(unsafe statvfs(mount.path + "/buffers", &figures))
                    return figures
                }
                let before = try figures()
                #expect(before.f_blocks > 0 && before.f_bfree <= before.f_blocks)
                #expect(before.f_namemax == 255)
                // The device's memory is nobody's who does not name it.
                let open = try mount.meminfo(0)["MemFree"]!
                #expect(Int(before.f_bavail * before.f_frsize) == open << 10)
                #expect(before.f_bavail < before.f_bfree)
                let file = try mount.makeBuffer("a", size: 0)
                try mount.fill(file, limit: 16 << 20)
                #expect((before.f_bfree - (try figures().f_bfree)) * before.f_frsize == 16 << 20)
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                try descriptor.closeAfter {
                    try check(fsync(descriptor.rawValue))
                    try check(fdatasync(descriptor.rawValue))
                }
            }
        }

        @Test("No room is ENOSPC for write(2) and SIGBUS for a mapping")
        func exhausted() throws {
            try TestMount.with { mount in
                let total = try mount.fill(mount.path + "/buffers/all")
                #expect(total > Machines.nodeSize * 9 / 10 && total <= Machines.nodeSize)
                #expect(try mount.meminfo(0)["MemFree"]! < 128)
                let file = try mount.makeBuffer("more", size: 1 << 20)
                #expect(throws: Errno.noSpace) {
                    let descriptor = try FileDescriptor.open(FilePath(file), .writeOnly)
                    _ = try descriptor.closeAfter { try descriptor.writeAll([UInt8](repeating: 1, count: 1 << 20)) }
                }
                let touched = try Client.sigbus("store", file, 0, "1M")
                #expect(touched["failed"]! > 0)
                try check(unsafe unlink(mount.path + "/buffers/all"))
                #expect(try eventually { try mount.meminfo(0)["MemFree"]! > 200 << 10 })
                #expect(try Client.sigbus("store", file, 0, "1M")["failed"] == 0)
            }
        }

        @Test(
            "A long fallocate(2) or truncate(2) holds up nobody on its CPU; the first can be interrupted, and leaves nothing then",
            .overEachTransport)
        func longChanges() throws {
            try TestMount.with(Machines.make(ram: "32G", device: "1G", block: "1G")) { mount in
                let file = try mount.makeBuffer("a", size: 0)
                // One CPU, and so one ring, for both.
                let here = ["taskset", "-c", "\(sched_getcpu())"]
                func seesHalfDone(_ all: Int) throws -> Bool {
                    try eventually {
                        let text = try run(here + ["cat", mount.path + "/sys/devices/system/node/node0/meminfo"]).output
                        let line = try #require(text.split(separator: "\n").first { $0.contains("MemUsed:") })
                        let kilobytes = line.split(separator: " ").dropLast().last.flatMap { Int($0) }
                        return try (1..<all >> 10).contains(#require(kilobytes))
                    }
                }
                let allocation = try Child(here + ["fallocate", "-l", "30G", file])
                #expect(try seesHalfDone(30 << 30))
                allocation.kill(SIGINT)
                #expect(try allocation.finish().ending == .killed(SIGINT))
                #expect(try eventually { try mount.placement("a").isEmpty })
                #expect(try run(["fallocate", "-l", "8G", file]).succeeded)
                let truncation = try Child(here + ["truncate", "-s", "0", file])
                #expect(try seesHalfDone(8 << 30))
                #expect(try truncation.finish().succeeded)
                #expect(try mount.placement("a").isEmpty)
                try mount.expectAgreement()
            }
        }
    }
}
