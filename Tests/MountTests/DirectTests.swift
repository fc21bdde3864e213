import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Buffers and device files that programs map past the page cache.
    @Suite("Direct mappings")
    struct DirectTests {
        private let option = ["mapping=direct"]

        private func mapping(_ buffer: String) -> String { "sys/kernel/cdm/buffers/\(buffer)/mapping" }

        @discardableResult
        private func makeDirect(_ mount: TestMount, _ name: String, size: Int, policy: String? = nil) throws -> String {
            let file = try mount.makeBuffer(name, size: 0, policy: policy)
            try resize(file, to: size)
            try mount.store("direct", in: mapping(name))
            return file
        }

        private func resize(_ file: String, to size: Int) throws {
            guard unsafe truncate(file, off_t(size)) == 0 else { throw Errno(rawValue: errno) }
        }

        /// KiB that a mapping of the process has in huge pages.
        private func hugeKilobytes(_ file: String) throws -> Int {
            let lines = try procfs("self/smaps").split(separator: "\n")
            guard let start = lines.firstIndex(where: { $0.hasSuffix(file) }) else { return -1 }
            return lines[start...].prefix(30).filter {
                $0.hasPrefix("ShmemPmdMapped:") || $0.hasPrefix("FilePmdMapped:")
            }
            .compactMap { Int($0.split(separator: " ")[1]) }.reduce(0, +)
        }

        @Test("The attribute: words, errors, and nothing changes under somebody who has it open or mapped")
        func attribute() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 5 << 20)
                #expect(try mount.word(mapping("a")) == "[tracked] direct")
                for text in ["", "x", "direct tracked", "1"] {
                    #expect(throws: Errno.invalidArgument, "\(text)") { try mount.store(text, in: mapping("a")) }
                }
                try Client.pattern("store", file, 0, "5M", 1)
                let open = try FileDescriptor.open(FilePath(file), .readWrite)
                #expect(throws: Errno.resourceBusy) { try mount.store("direct", in: mapping("a")) }
                try mount.store("tracked", in: mapping("a"))
                try open.close()
                try mount.store("direct", in: mapping("a"))
                #expect(try mount.word(mapping("a")) == "tracked [direct]")
                let value = try run([
                    "python3", "-c", "import os; print(os.getxattr('\(file)', 'user.cdm.mapping').decode())",
                ])
                #expect(value.output == "tracked [direct]\n")
                try Client.pattern("verify", file, 0, "5M", 1)

                let again = try FileDescriptor.open(FilePath(file), .readWrite)
                let address = unsafe mmap(nil, 5 << 20, PROT_READ, MAP_SHARED, again.rawValue, 0)!
                try again.close()
                #expect(throws: Errno.resourceBusy) { try mount.store("tracked", in: mapping("a")) }
                unsafe munmap(address, 5 << 20)
                try mount.store("tracked", in: mapping("a"))
                try Client.pattern("verify", file, 0, "5M", 1)
                try Client.pattern("read", file, 0, "5M", 1)
                try mount.expectAgreement()
            }
        }

        @Test(
            "Two processes, read(2) and write(2), and a private mapping see one memory", arguments: ["8M", "5000000"])
        func coherence(size: String) throws {
            try TestMount.with(options: option) { mount in
                let file = try mount.makeBuffer("a", size: size == "8M" ? 8 << 20 : 5_000_000)
                #expect(try mount.word(mapping("a")) == "tracked [direct]")
                try Client.share(file, "4M")
                for (writer, readers) in [("store", ["read", "verify", "private"]), ("write", ["verify", "read"])] {
                    try Client.pattern(writer, file, 0, size, writer.count)
                    for reader in readers { try Client.pattern(reader, file, 0, size, writer.count) }
                }
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                defer { try? descriptor.close() }
                let bytes = unsafe mmap(nil, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.rawValue, 0)!
                defer { unsafe munmap(bytes, 1 << 20) }
                try descriptor.writeAll(toAbsoluteOffset: 4094, [1, 2, 3, 4])
                #expect(unsafe bytes.load(fromByteOffset: 4096, as: UInt8.self) == 3)
                unsafe bytes.storeBytes(of: 9, toByteOffset: 4095, as: UInt8.self)
                var found: [UInt8] = [0, 0, 0]
                _ = unsafe try found.withUnsafeMutableBytes {
                    unsafe try descriptor.read(fromAbsoluteOffset: 4094, into: $0)
                }
                #expect(found == [1, 9, 3])
                // A child of fork(2) has the same mapping.
                let child = try run([
                    "python3", "-c",
                    """
                    import mmap, os
                    memory = mmap.mmap(os.open('\(file)', os.O_RDWR), 4 << 20)
                    memory[0] = 1
                    if os.fork() == 0:
                        memory[2 << 20] = memory[0] + 41
                        os._exit(0)
                    assert os.wait()[1] == 0
                    assert memory[2 << 20] == 42
                    """,
                ])
                #expect(child.succeeded, "\(child.errors)")
                try mount.expectAgreement()
            }
        }

        @Test("Huge pages are really there, where they lie within the size; and none where none are wanted")
        func huge() throws {
            try TestMount.with(options: option) { mount in
                for (name, size, mode, expected) in [
                    ("a", 8 << 20, "", 8 << 10), ("b", 5 << 20, "always", 4 << 10), ("c", 8 << 20, "never", 0),
                ] {
                    var found = try hugeKilobytes(mount, name, size: size, mode: mode)
                    if found.host < expected {
                        // The host's memory may be in pieces.
                        try FileManager.default.removeItem(atPath: mount.path + "/buffers/" + name)
                        try "1".write(toFile: "/proc/sys/vm/compact_memory", atomically: false, encoding: .utf8)
                        found = try hugeKilobytes(mount, name, size: size, mode: mode)
                    }
                    #expect(found.host == expected, "\(name)")
                    // With `always` the machine's huge pages reach behind the end; the host's do not.
                    #expect(found.machine == (mode == "always" ? 6 << 10 : expected), "\(name)")
                }
                #expect(throws: Errno.notSupported) { try mount.store("pool", in: mount.control("a") + "/huge") }
                try mount.expectAgreement()
            }
        }

        /// Makes a buffer and stores to all of it; KiB of it in huge pages, the host's and the machine's.
        private func hugeKilobytes(
            _ mount: TestMount, _ name: String, size: Int, mode: String
        ) throws -> (host: Int, machine: Int) {
            let file = try mount.makeBuffer(name, size: 0)
            #expect(try mount.word(mount.control(name) + "/huge") == "never [within_size] always pool")
            if !mode.isEmpty { try mount.store(mode, in: mount.control(name) + "/huge") }
            try resize(file, to: size)
            let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
            defer { try? descriptor.close() }
            let address = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.rawValue, 0)!
            defer { unsafe munmap(address, size) }
            unsafe memset(address, 1, size / (2 << 20) * (2 << 20))
            let huge = try mount.pages(name).filter { $0.flags.contains("huge") }.reduce(0) { $0 + $1.length }
            return (try hugeKilobytes(file), huge >> 10)
        }

        @Test("Random operations beside an ordinary file", arguments: 1...3)
        func fsx(seed: Int) throws {
            let ordinary = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: ordinary) }
            try TestMount.with(options: option) { mount in
                try Client.fsx(mount.path + "/buffers/a", ordinary + "/a", seed, 1500)
                #expect(try mount.word(mapping("a")) == "tracked [direct]")
                try mount.expectAgreement()
            }
        }

        @Test("All frames are taken when it is sized, or none: ENOSPC; a hole gives none back, a nearer end does")
        func reservation() throws {
            try TestMount.with(options: option) { mount in
                let file = try mount.makeBuffer("a", size: 0, policy: "bind:1")
                try resize(file, to: 100 << 20)
                #expect(try mount.placement("a") == [1: 25600] && mount.meminfo(1)["MemUsed"] == 100 << 10)
                #expect(throws: Errno.noSpace) { try resize(file, to: 257 << 20) }
                #expect(try status(file).st_size == 100 << 20 && mount.placement("a") == [1: 25600])
                try resize(file, to: 256 << 20)
                let other = try mount.makeBuffer("b", size: 0, policy: "bind:1")
                let refused = try run(["dd", "if=/dev/zero", "of=\(other)", "bs=64K", "count=1", "conv=notrunc"])
                #expect(!refused.succeeded && refused.errors.contains("No space left"), "\(refused.errors)")
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                defer { try? descriptor.close() }
                try descriptor.writeAll(toAbsoluteOffset: 3 << 20, [UInt8](repeating: 1, count: 8192))
                #expect(lseek(descriptor.rawValue, 0, Int32(SEEK_DATA)) <= 3 << 20)
                #expect(fallocate(descriptor.rawValue, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8 << 20) == 0)
                #expect(lseek(descriptor.rawValue, 0, Int32(SEEK_DATA)) < 0)
                try Client.pattern("zeros", file, 0, "8M", 0)
                #expect(try mount.placement("a") == [1: 65536])
                try resize(file, to: (10 << 20) + 1)
                #expect(try mount.placement("a") == [1: 2561] && status(file).st_blocks == 2561 * 8)
                #expect(try Client.sigbus("store", file, 0, "10M").output.contains("failed=0"))
                try mount.expectAgreement()
            }
        }

        @Test("Pages move and blocks go offline under a program that stores; what is pinned says who maps it")
        func moving() throws {
            try TestMount.with { mount in
                let file = try makeDirect(mount, "a", size: 32 << 20, policy: "bind:1")
                let client = try Client.increment.start(file, "32M", 2)
                #expect(try client.line() == "ready")
                for round in 0..<6 {
                    try mount.store("\(round % 2)", in: mount.control("a") + "/migrate")
                    #expect(try mount.placement("a") == [round % 2: 8192])
                    #expect(
                        try mount.word(mount.control("a") + "/migrate").hasPrefix("state=done moved=8192 failed=0 "))
                }
                let block = try #require(try mount.blocks(of: "a").first)
                try mount.store("offline", in: "sys/devices/system/memory/memory\(block)/state")
                #expect(try !mount.blocks(of: "a").contains(block))
                try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                #expect(try mount.placement("a") == [0: 8192])
                try mount.store("online", in: "sys/class/cdm/cdm0/state")
                try mount.store("1", in: mount.control("a") + "/migrate")
                try mount.store("1", in: mount.control("a") + "/pinned")
                #expect(throws: Errno.resourceBusy) { try mount.store("offline", in: "sys/class/cdm/cdm0/state") }
                let blockers = try mount.text("sys/devices/system/node/node1/cdm/blockers")
                #expect(blockers.hasSuffix(" a \(client.pid)\n"), "\(blockers)")
                try mount.store("0", in: mount.control("a") + "/pinned")
                try mount.store("online", in: "sys/class/cdm/cdm0/state")
                client.kill(SIGTERM)
                let outcome = try client.finish()
                #expect(outcome.succeeded, "\(outcome.output) \(outcome.errors)")
                try mount.expectAgreement()
            }
        }

        @Test("Unlinked, its memory goes back when the last mapping is gone, not when the file is closed")
        func unlinked() throws {
            try TestMount.with(options: option) { mount in
                let file = try mount.makeBuffer("a", size: 16 << 20)
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                let bytes = unsafe mmap(nil, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.rawValue, 0)!
                unsafe memset(bytes, 7, 16 << 20)
                try descriptor.close()
                try FileManager.default.removeItem(atPath: file)
                // Nothing tells that the kernel keeps the inode; it had time to let it go.
                try mount.makeBuffer("b", size: 4096)
                usleep(300_000)
                #expect(try mount.meminfo(0)["MemUsed"] == 16 << 10 + 4)
                #expect(unsafe bytes.load(fromByteOffset: 9 << 20, as: UInt8.self) == 7)
                unsafe munmap(bytes, 16 << 20)
                #expect(try eventually { try mount.meminfo(0)["MemUsed"] == 4 })
            }
        }

        @Test("kill -9 of the daemon leaves mappings readable, touched or not, until they are unmapped")
        func killed() throws {
            try TestMount.with(options: option, endsItself: true) { mount in
                let file = try mount.makeBuffer("a", size: 16 << 20)
                try Client.pattern("store", file, 0, "8M", 3)
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                let bytes = unsafe mmap(nil, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.rawValue, 0)!
                let resident = try Client.increment.start(try mount.makeBuffer("b", size: 8 << 20), "8M", 2)
                #expect(try resident.line() == "ready")
                try mount.killDaemon()
                let words = unsafe UnsafeRawBufferPointer(start: bytes, count: 8 << 20)
                #expect(unsafe words.contains { $0 != 0 })
                unsafe bytes.storeBytes(of: 5, toByteOffset: 15 << 20, as: UInt8.self)
                #expect(unsafe bytes.load(fromByteOffset: 15 << 20, as: UInt8.self) == 5)
                #expect(throws: Errno.socketNotConnected) { try descriptor.writeAll([1]) }
                resident.kill(SIGTERM)
                let outcome = try resident.finish()
                #expect(outcome.succeeded, "\(outcome.ending) \(outcome.output) \(outcome.errors)")
                unsafe munmap(bytes, 16 << 20)
                try? descriptor.close()
                let unmount = try run([Host.cdmfs, "unmount", mount.path])
                #expect(unmount.succeeded, "\(unmount.errors)")
            }
        }

        @Test("A device file: the whole node is its own, and what maps it ends with the device")
        func device() throws {
            try TestMount.with(Machines.make(device: "64M")) { mount in
                let control = "sys/class/cdm/cdm0/buffer"
                try mount.store("direct", in: control + "/mapping")
                #expect(try mount.meminfo(1)["MemFree"] == 0 && mount.word(control + "/resident") == "\(64 << 20)")
                let file = mount.path + "/dev/cdm0"
                try Client.pattern("store", file, 0, "64M", 2)
                try Client.pattern("read", file, 0, "64M", 2)
                let mapped = try Child([
                    "python3", "-c",
                    """
                    import mmap, os, sys
                    memory = mmap.mmap(os.open('\(file)', os.O_RDWR), 64 << 20)
                    memory[0] = 1
                    print('ready', flush=True)
                    sys.stdin.read(1)
                    while True: memory[0] += 0
                    """,
                ])
                #expect(try mapped.line() == "ready")
                try mount.store("force", in: "sys/class/cdm/cdm0/remove")
                #expect(try mapped.finish().ending == .killed(SIGBUS))
                try mount.store("online", in: "sys/devices/system/memory/auto_online_blocks")
                try mount.store("1", in: "sys/class/cdm/rescan")
                #expect(try mount.word(control + "/mapping") == "[tracked] direct")
                try Client.pattern("zeros", file, 0, "64M", 0)
                try mount.expectAgreement()
            }
        }

        @Test("sendfile(2) and splice(2), which go through the page cache, are EINVAL: they would miss what is stored")
        func sendfile() throws {
            try TestMount.with(options: option) { mount in
                let file = try mount.makeBuffer("a", size: 1 << 20)
                let outcome = try run([
                    "python3", "-c",
                    """
                    import errno, mmap, os, shutil
                    file = os.open('\(file)', os.O_RDWR)
                    memory = mmap.mmap(file, 1 << 20)
                    out = os.memfd_create('out')
                    def through_the_cache():
                        yield lambda: os.sendfile(out, file, 4096, 8192)
                        yield lambda: os.splice(file, os.pipe()[1], 8192, 4096)
                        yield lambda: os.copy_file_range(file, out, 8192, 4096, 0)
                    for value in range(1, 50):
                        memory[5000] = value
                        for call in through_the_cache():
                            try: call()
                            except OSError as error:
                                if error.errno in (errno.EINVAL, errno.EXDEV): continue
                                raise
                            raise SystemExit('it came through')
                        shutil.copyfile('\(file)', '/proc/self/fd/%d' % out)
                        assert os.pread(out, 1, 5000)[0] == value
                        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
                    """,
                ])
                #expect(outcome.succeeded, "\(outcome.errors)")
                #expect(try run(["sh", "-c", "cp \(file) \(file)2 && cmp \(file) \(file)2"]).succeeded)
            }
        }

        @Test(
            "Where descriptors run out, new buffers are tracked, and those that are direct grow on",
            .enabled(if: Host.has("setpriv") && Host.has("prlimit"), "util-linux has them"))
        func fewDescriptors() throws {
            try TestMount.unmounted(endsItself: true) { mount in
                let limits = [
                    "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource", "prlimit", "--nofile=96:96",
                ]
                let mounted = try run(limits + mount.command(options: option), environment: mount.environment)
                try #require(mounted.succeeded, "\(mounted.errors)")
                let outcome = try run([
                    "python3", "-c",
                    """
                    import mmap, os
                    for number in range(100):
                        file = os.open('\(mount.path)/buffers/%d' % number, os.O_RDWR | os.O_CREAT)
                        for size in 8192, 65536:
                            os.ftruncate(file, size)
                            with mmap.mmap(file, size) as memory: memory[size - 2] = number
                            assert os.pread(file, 2, size - 2) == bytes([number, 0])
                        os.close(file)
                    """,
                ])
                #expect(outcome.succeeded, "\(outcome.errors)")
                let modes = try Set((0..<100).map { try mount.word(mapping("\($0)")) })
                #expect(modes == ["tracked [direct]", "[tracked] direct"])
                let unmount = try run([Host.cdmfs, "unmount", mount.path])
                #expect(unmount.succeeded, "\(unmount.errors)")
            }
        }

        @Test("A file that is just made, and the policies of the mount")
        func creation() throws {
            try TestMount.with(options: option) { mount in
                let path = mount.path + "/buffers/a"
                let file = try FileDescriptor.open(
                    FilePath(path), .readWrite, options: [.create, .exclusiveCreate], permissions: [.ownerReadWrite])
                defer { try? file.close() }
                let found = try status(path)
                #expect(found.st_mode == S_IFREG | 0o600 && found.st_size == 0 && found.st_nlink == 1)
                try file.writeAll([1, 2, 3])
                #expect(try status(path).st_size == 3)
                let again = try FileDescriptor.open(FilePath(path), .readOnly)
                defer { try? again.close() }
                let byte = unsafe mmap(nil, 4096, PROT_READ, MAP_SHARED, again.rawValue, 0)!
                #expect(unsafe byte.load(fromByteOffset: 2, as: UInt8.self) == 3)
                unsafe munmap(byte, 4096)
                #expect(try status(mount.path + "/dev/cdm0").st_blocks == 0)
            }
        }

        @Test(
            "Without the privilege it is EOPNOTSUPP, and a mount that wanted it says so once",
            .enabled(if: Host.has("setpriv") && Host.has("unshare"), "util-linux has them"))
        func unprivileged() throws {
            try TestMount.unmounted { mount in
                let folder = (mount.path as NSString).deletingLastPathComponent
                for path in [folder, mount.path] { try #require(unsafe chown(path, 65534, 65534) == 0) }
                let control = mount.path + "/" + mapping("a")
                // In a namespace of its own, where anybody may open /dev/fuse.
                let outside = """
                    mknod -m 666 \(folder)/fuse c 10 229 && mount --bind \(folder)/fuse /dev/fuse || exit 3
                    exec setpriv --reuid 65534 --regid 65534 --clear-groups bash -c "$0" - "$@"
                    """
                let script = """
                    "$@" || exit 2
                    truncate -s 4096 \(mount.path)/buffers/a
                    cat \(control)
                    echo direct > \(control)
                    \(Host.cdmfs) unmount \(mount.path)
                    """
                let outcome = try run(
                    ["unshare", "--mount", "bash", "-c", outside, script]
                        + mount.command(options: option, flags: ["--log", folder + "/log"]),
                    environment: mount.environment)
                #expect(outcome.succeeded, "\(outcome.ending) \(outcome.errors)")
                #expect(outcome.output == "[tracked] direct\n")
                #expect(outcome.errors.contains("Operation not supported"), "\(outcome.errors)")
                let log = try String(contentsOfFile: folder + "/log", encoding: .utf8)
                #expect(log.split(separator: "\n").count { $0.contains("buffers are tracked") } == 1, "\(log)")
            }
        }
    }
}
