import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Bad input gets a clear errno, and hurts nobody.
    @Suite("Hostile input")
    struct HostileTests {
        /// Longer than an attribute; what fits is tried without a mount.
        private static let inputs: [(name: String, bytes: [UInt8])] = [
            ("100 KiB of NUL bytes", [UInt8](repeating: 0, count: 100 << 10)),
            ("100 KiB of digits", [UInt8](repeating: 49, count: 100 << 10)),
        ]

        @Test(
            "More than an attribute holds is refused by every attribute and changes nothing", arguments: inputs.indices)
        func garbage(index: Int) throws {
            let (name, bytes) = HostileTests.inputs[index]
            try TestMount.with { mount in
                try mount.makeBuffer("a", size: 1 << 20)
                try mount.fill(mount.path + "/buffers/a", limit: 1 << 20)
                let writable = try mount.walk("sys").filter { $0.kind == S_IFREG && $0.permissions & 0o222 != 0 }
                #expect(writable.count > 30)
                // Whatever is written to compact asks for it, as in Linux.
                for attribute in writable where !attribute.file.hasSuffix("/compact") {
                    let isReadable = attribute.permissions & 0o444 != 0
                    let before = isReadable ? try mount.text(attribute.file) : ""
                    do {
                        try mount.store(bytes, in: attribute.file)
                        Issue.record("\(attribute.file) took \(name)")
                    } catch let error as Errno {
                        let allowed: [Errno] = [.invalidArgument, .outOfRange]
                        #expect(allowed.contains(error), "\(attribute.file), \(name): \(error)")
                    }
                    // The root group's tasks are the host's, which come and go.
                    guard isReadable, attribute.file != "sys/fs/cgroup/cgroup.procs" else { continue }
                    #expect(try mount.text(attribute.file) == before, "\(attribute.file), \(name)")
                }
                #expect(try mount.placement("a") == [0: 256])
            }
        }

        @Test("Offsets and sizes near 2^63")
        func hugeOffsets() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 4096)
                let buffer = try FileDescriptor.open(FilePath(file), .readWrite)
                let attribute = try FileDescriptor.open(
                    FilePath(mount.path + "/sys/devices/system/node/online"), .readOnly)
                let device = try FileDescriptor.open(FilePath(mount.path + "/dev/cdm0"), .readWrite)
                defer { for descriptor in [buffer, attribute, device] { try? descriptor.close() } }
                let fd = buffer.rawValue
                var byte: UInt8 = 1
                for offset in [off_t(1) << 62, off_t.max - 4096, off_t.max - 1] {
                    #expect(unsafe pread(fd, &byte, 1, offset) == 0)
                    #expect(unsafe pread(attribute.rawValue, &byte, 1, offset) == 0)
                    #expect(unsafe pread(device.rawValue, &byte, 1, offset) == 0)
                    #expect(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, 1) == 0 || errno == EFBIG)
                    #expect(lseek(fd, offset, 3) == -1 && errno == ENXIO)
                }
                // The last byte a file can have may be there or not, but is not waited for.
                #expect(unsafe pwrite(fd, &byte, 1, off_t.max - 1) == 1 || [EFBIG, ENOSPC].contains(errno))
                #expect(unsafe pwrite(fd, &byte, 1, off_t.max) == -1 && [EFBIG, EINVAL].contains(errno))
                #expect(unsafe pread(fd, &byte, 1, -1) == -1 && errno == EINVAL)
                #expect(ftruncate(fd, -1) == -1 && errno == EINVAL)
                #expect(ftruncate(fd, off_t.max) == 0 || errno == EFBIG)
                #expect(ftruncate(fd, 4096) == 0)
                // A device is as large as its memory, neither more nor less.
                #expect(ftruncate(device.rawValue, 1 << 40) == -1)
                let end = off_t(Machines.nodeSize)
                #expect(unsafe pwrite(device.rawValue, &byte, 1, end) == -1 && [EFBIG, ENOSPC].contains(errno))
                #expect(unsafe pread(device.rawValue, &byte, 1, end) == 0)
            }
        }

        @Test("The last pages of the longest file move, though many of them are cached")
        func lastPages() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 0)
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                defer { try? descriptor.close() }
                let pages = 64
                let start = Int64.max - Int64(pages) * 4096 + 1
                for page in 0..<pages {
                    let bytes = [UInt8](repeating: UInt8(page + 1), count: page == pages - 1 ? 4095 : 4096)
                    try descriptor.writeAll(toAbsoluteOffset: start + Int64(page) * 4096, bytes)
                }
                for node in ["1", "0"] {
                    try mount.store(node, in: mount.control("a") + "/migrate")
                    #expect(try mount.word(mount.control("a") + "/placement") == "N\(node)=\(pages)")
                }
                var last: [UInt8] = [0]
                let count = try unsafe last.withUnsafeMutableBytes {
                    try unsafe descriptor.read(fromAbsoluteOffset: .max - 1, into: $0)
                }
                #expect(count == 1 && last[0] == UInt8(pages))
            }
        }

        @Test("A sparse file of 2^60 bytes")
        func sparse() throws {
            try TestMount.with { mount in
                let size = 1 << 60
                let file = try mount.makeBuffer("a", size: size)
                #expect(try mount.entry("buffers/a").status.st_size == size)
                #expect(try mount.entry("buffers/a").status.st_blocks == 0)
                try Client.pattern("store", file, size - 65536, 65536, 1)
                try Client.pattern("write", file, size / 2, 65536, 1)
                try Client.pattern("verify", file, size - 65536, 65536, 1)
                try Client.pattern("read", file, size / 2, 65536, 1)
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                try descriptor.closeAfter {
                    let data: Int32 = 3  // SEEK_DATA
                    let first = lseek(descriptor.rawValue, 0, data)
                    #expect(first > 0 && first <= size / 2 && size / 2 - first < 1 << 20)
                }
                #expect(try mount.placement("a")[0]! <= 128)
                try mount.hollow("buffers/a")
                #expect(try mount.word(mount.control("a") + "/resident") == "0")
            }
        }

        @Test("Ten thousand opens")
        func manyOpens() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 4096)
                for file in [file, mount.path + "/sys/devices/system/node/node1/meminfo", mount.path + "/dev/cdm0"] {
                    #expect(try Client.openmany(file, 10000)["opened"] == 10000)
                }
            }
        }

        @Test("Ctrl-C during a long echo", arguments: ["migrate", "offline"])
        func interrupted(what: String) throws {
            try TestMount.with(Machines.large) { mount in
                let file = try mount.makeBuffer("a", size: 768 << 20, policy: "prefer:1")
                try Client.pattern("write", file, 0, "768M", 4)
                let pages = 768 << 8
                for round in 0..<4 {
                    let target =
                        mount.path + "/"
                        + (what == "migrate" ? mount.control("a") + "/migrate" : "sys/class/cdm/cdm0/state")
                    let word = what == "offline" ? "offline" : "\(round % 2)"
                    let shell = try Child(["sh", "-c", "echo ready; echo \(word) > \(target)"])
                    #expect(try shell.line() == "ready")
                    // Any moment of the work will do; this makes them different ones.
                    usleep(UInt32(20_000 * (round + 1)))
                    shell.kill(SIGINT)
                    _ = try shell.finish()
                    #expect(
                        try eventually { try !mount.text(mount.control("a") + "/migrate").hasPrefix("state=running") })
                    #expect(try mount.placement("a").values.reduce(0, +) == pages)
                    if what == "offline" {
                        #expect(
                            try eventually {
                                ["online", "offline", "offline_failed"].contains(
                                    try mount.word("sys/class/cdm/cdm0/state"))
                            })
                        try? mount.store("online", in: "sys/class/cdm/cdm0/state")
                        try mount.store("1", in: mount.control("a") + "/migrate")
                    }
                }
                try Client.pattern("verify", file, 0, "768M", 4)
            }
        }

        @Test("kill -9 of a client inside a fault", arguments: ["buffers/a", "dev/cdm0"])
        func killedClient(file: String) throws {
            try TestMount.with { mount in
                if file == "buffers/a" { try mount.makeBuffer("a", size: 64 << 20) }
                let other = try mount.makeBuffer("other", size: 16 << 20)
                let bystander = try Client.increment.start(other, "16M", 1)
                #expect(try bystander.line() == "ready")
                for round in 0..<10 {
                    let client = try Client.fault.start(mount.path + "/" + file, "64M", 4)
                    #expect(try client.line() == "ready")
                    usleep(UInt32(5_000 * round))
                    client.kill(SIGKILL)
                    #expect(try client.finish().ending == .killed(SIGKILL))
                }
                bystander.kill(SIGTERM)
                let outcome = try bystander.finish()
                #expect(outcome.succeeded, "\(outcome.output) \(outcome.errors)")
            }
        }

        @Test("What buffers leave behind in the daemon does not grow")
        func memory() throws {
            try TestMount.with { mount in
                let daemon = try #require(mount.daemons().first)
                func churn() throws {
                    for round in 0..<500 {
                        let file = try mount.makeBuffer("a\(round)", size: 64 << 20)
                        try mount.fill(file, limit: 64 << 10)
                        try FileManager.default.removeItem(atPath: file)
                    }
                }
                try churn()
                let before = try kilobytes(daemon, "RssAnon")
                for _ in 0..<4 { try churn() }
                // A sanitizer reserves terabytes, and keeps freed memory for a while.
                if try kilobytes(daemon, "VmSize") < 1 << 30 {
                    #expect(try kilobytes(daemon, "RssAnon") - before < 8 << 10)
                }
                let file = try mount.makeBuffer("large", size: 0)
                try mount.fill(file, limit: 128 << 20)
                try FileManager.default.removeItem(atPath: file)
                #expect(
                    try eventually { try kilobytes(daemon, "RssShmem") < 32 << 10 }, "freed frames go back to the host")
            }
        }

        @Test("A node of 1 TiB costs little until it is touched")
        func terabyte() throws {
            func resident(_ memory: String) throws -> Int {
                var size = 0
                try TestMount.with(Machines.make(ram: "1G", device: memory, block: "1G")) { mount in
                    // Not what is mapped of the program, which is whatever is cached of it.
                    let daemon = try #require(mount.daemons().first)
                    size = try kilobytes(daemon, "RssAnon") + kilobytes(daemon, "RssShmem")
                }
                return size
            }
            #expect(try resident("1T") - resident("1G") < 8 << 10)
        }

        /// A figure of /proc/PID/status.
        private func kilobytes(_ process: pid_t, _ key: String) throws -> Int {
            let status = try procfs("\(process)/status")
            let line = status.split(separator: "\n").first { $0.hasPrefix(key + ":") }
            return try #require(line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) })
        }
    }
}
