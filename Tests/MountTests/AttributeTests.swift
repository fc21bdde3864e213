import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// What every attribute file has in common with those of sysfs.
    @Suite("Attributes")
    struct AttributeTests {
        @Test("Modes, sizes and owners; listing and lookup agree")
        func uniform() throws {
            try TestMount.with { mount in
                try mount.makeBuffer("a", size: 4096)
                let entries = try mount.walk("sys")
                #expect(entries.count > 100)
                for entry in entries {
                    #expect(entry.status.st_uid == 0 && entry.status.st_gid == 0, "\(entry.file)")
                    switch entry.kind {
                    case S_IFREG:
                        // The configuration space of a PCI device is no text.
                        if entry.file.hasSuffix("/config") {
                            #expect(entry.status.st_size == 256 && entry.permissions == 0o444, "\(entry.file)")
                            continue
                        }
                        #expect(entry.status.st_size == 4096, "\(entry.file)")
                        // Those of cdm/trace are those of tracefs.
                        let modes: [mode_t] =
                            entry.file.contains("cdm/trace/")
                            ? [0o440, 0o640] : [0o444, 0o644, 0o200, 0o222, 0o400, 0o600, 0o666]
                        #expect(modes.contains(entry.permissions), "\(entry.file)")
                        // uevents is no text but a stream: a read waits for the next event.
                        if entry.permissions & 0o444 != 0, !entry.file.hasSuffix("/uevents"),
                            !entry.file.contains("/trace_pipe")
                        {
                            let text = try mount.text(entry.file)
                            #expect(text.isEmpty || text.hasSuffix("\n"), "\(entry.file)")
                            #expect(!text.hasSuffix("\n\n"), "\(entry.file)")
                        }
                    case S_IFDIR:
                        // As debugfs and tracefs, kernel/debug and cdm/trace are root's alone; controls are as open as what they are of.
                        let known: [(String, mode_t)] = [
                            ("kernel/debug", 0o700), ("cdm/trace", 0o700), ("cdm/buffers/a", 0o700),
                            ("cdm/buffers", 0o1777),
                        ]
                        let mode = known.first { entry.file.contains($0.0) }?.1 ?? 0o755
                        #expect(entry.permissions == mode, "\(entry.file)")
                    default:
                        #expect(entry.kind == S_IFLNK, "\(entry.file)")
                        // A link leads somewhere inside the mount.
                        var target = stat()
                        #expect(unsafe stat(mount.path + "/" + entry.file, &target) == 0, "\(entry.file)")
                    }
                }
                try expectListingsAgree(mount, "sys")
                try expectListingsAgree(mount, "")
                #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry("sys/devices/system/node/node2") }
                #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry("sys/devices/system/node/node01") }
                #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry("dev/cdm1") }
            }
        }

        /// What readdir(3) says of an entry's number and type is what lstat(2) says, `.` and `..` are there, and no name
        /// comes twice.
        private func expectListingsAgree(_ mount: TestMount, _ folder: String) throws {
            guard let directory = unsafe opendir(mount.path + "/" + folder) else { throw Errno(rawValue: errno) }
            defer { unsafe closedir(directory) }
            var names: [String] = []
            var folders: [String] = []
            while let entry = unsafe readdir(directory) {
                let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                    unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                names.append(name)
                if name == "." || name == ".." { continue }
                let file = folder.isEmpty ? name : folder + "/" + name
                let found = try mount.entry(file)
                #expect(unsafe entry.pointee.d_ino == found.status.st_ino, "\(file)")
                #expect(unsafe mode_t(entry.pointee.d_type) << 12 == found.kind, "\(file)")
                if found.kind == S_IFDIR { folders.append(file) }
            }
            #expect(Set(names).count == names.count && Set(names).isSuperset(of: [".", ".."]), "\(folder)")
            for folder in folders { try expectListingsAgree(mount, folder) }
        }

        @Test("sendfile(2) is EINVAL, and cuts nothing off for those who read")
        func sendfile() throws {
            try TestMount.with { mount in
                let file = mount.path + "/" + mount.control("a") + "/policy"
                try mount.makeBuffer("a", size: 4096, policy: "bind:1")
                let outcome = try run([
                    "python3", "-c",
                    """
                    import os
                    source, target = os.open('\(file)', os.O_RDWR), os.memfd_create('target')
                    for policy in b'bind:1', b'interleave:0-1':
                        os.write(source, policy)
                        try: os.sendfile(target, source, 0, 1 << 20)
                        except OSError as error: print(error.errno, end=' ')
                        print(os.pread(source, 4096, 0) == policy + b'\\n', os.fstat(source).st_size)
                    """,
                ])
                #expect(outcome.output == "22 True 4096\n22 True 4096\n", "\(outcome.output) \(outcome.errors)")
            }
        }

        @Test("The wrong way round is EACCES, for root too")
        func accessModes() throws {
            try TestMount.with { mount in
                let attributes = try mount.walk("sys").filter { $0.kind == S_IFREG }
                for attribute in attributes {
                    let path = FilePath(mount.path + "/" + attribute.file)
                    let readable = attribute.permissions & 0o444 != 0, writable = attribute.permissions & 0o222 != 0
                    for (mode, isAllowed) in [
                        (FileDescriptor.AccessMode.readOnly, readable), (.writeOnly, writable),
                        (.readWrite, readable && writable),
                    ] {
                        do {
                            try FileDescriptor.open(path, mode).close()
                            #expect(isAllowed, "\(attribute.file) \(mode)")
                        } catch {
                            #expect(
                                !isAllowed && error as? Errno == .permissionDenied, "\(attribute.file) \(mode) \(error)"
                            )
                        }
                    }
                }
            }
        }

        @Test("Nothing can be made, removed or renamed below sys/")
        func fixedTree() throws {
            try TestMount.with { mount throws in
                let folder = mount.path + "/sys/devices/system/node"
                func expectRefused(_ what: Comment, _ status: Int32) {
                    #expect(status == -1 && errno == EPERM, what)
                }
                for parent in [
                    folder, folder + "/node1/cdm", mount.path + "/sys", mount.path + "/sys/kernel/cdm/buffers",
                ] {
                    expectRefused("mkdir", unsafe mkdir(parent + "/new", 0o755))
                    expectRefused("symlink", unsafe symlink("online", parent + "/new"))
                    expectRefused("mknod", unsafe mknod(parent + "/new", S_IFREG | 0o644, 0))
                    #expect(throws: Errno.notPermitted) {
                        try FileDescriptor.open(
                            FilePath(parent + "/new"), .writeOnly, options: .create, permissions: .ownerReadWrite
                        ).close()
                    }
                }
                expectRefused("unlink", unsafe unlink(folder + "/online"))
                expectRefused("rmdir", unsafe rmdir(folder + "/node1"))
                expectRefused("rename", unsafe rename(folder + "/online", folder + "/offline"))
                expectRefused("rename", unsafe rename(folder + "/online", folder + "/possible"))
                expectRefused("link", unsafe link(folder + "/online", folder + "/new"))
                #expect(try mount.text("sys/devices/system/node/online") == "0-1\n")
            }
        }

        @Test("Opening with O_TRUNC changes nothing, newlines are optional")
        func truncation() throws {
            try TestMount.with { mount in
                let isolation = "sys/devices/system/node/node1/cdm/isolation"
                let path = FilePath(mount.path + "/" + isolation)
                try FileDescriptor.open(path, .readWrite, options: .truncate).close()
                #expect(try mount.text(isolation) == "none [exclusive] restricted driver private\n")
                #expect(try mount.entry(isolation).status.st_size == 4096)
                try mount.store(Array("none".utf8), in: isolation)
                #expect(try mount.text(isolation) == "[none] exclusive restricted driver private\n")
                try mount.store(Array("exclusive\n".utf8), in: isolation)
                #expect(try mount.text(isolation) == "none [exclusive] restricted driver private\n")
                #expect(throws: Errno.invalidArgument) { try mount.store("exclusive\n", in: isolation) }
                #expect(throws: Errno.invalidArgument) { try mount.store("Exclusive", in: isolation) }
            }
        }

        @Test("One descriptor reads the text of its time, from any offset")
        func reading() throws {
            try TestMount.with { mount in
                let file = "sys/devices/system/node/node0/meminfo"
                let text = try mount.text(file)
                let descriptor = try FileDescriptor.open(FilePath(mount.path + "/" + file), .readOnly)
                try descriptor.closeAfter {
                    var pieces: [UInt8] = []
                    var piece = [UInt8](repeating: 0, count: 100)
                    while true {
                        let count = try unsafe piece.withUnsafeMutableBytes {
                            try unsafe descriptor.read(fromAbsoluteOffset: Int64(pieces.count), into: $0)
                        }
                        if count == 0 { break }
                        pieces += piece.prefix(count)
                    }
                    #expect(String(decoding: pieces, as: UTF8.self) == text)
                }
            }
        }

        @Test("poll(2) with POLLPRI wakes on a change")
        func polling() throws {
            try TestMount.with { mount in
                try mount.makeBuffer("a", size: 1 << 20)
                try mount.fill(mount.path + "/buffers/a", limit: 1 << 20)
                let state = "sys/class/cdm/cdm0/state"
                for (file, change) in [
                    (
                        mount.control("a") + "/policy",
                        { try mount.store("bind:1", in: mount.control("a") + "/policy") }
                    ),
                    (
                        mount.control("a") + "/policy",
                        { try mount.store("0x1000 0x1000 bind:0", in: mount.control("a") + "/policy") }
                    ),
                    (mount.control("a") + "/migrate", { try mount.store("1", in: mount.control("a") + "/migrate") }),
                    (state, { try mount.store("offline", in: state) }),
                    (state, { try mount.store("online", in: state) }),
                ] {
                    let client = try Client.pollpri.start(mount.path + "/" + file)
                    #expect(try client.line() == "ready", "\(file)")
                    try change()
                    let outcome = try client.finish()
                    #expect(outcome.succeeded, "\(file): \(outcome.errors)")
                }
            }
        }

        @Test("Opening, polling and closing from many sides leaves the daemon alone")
        func pollStorm() throws {
            try TestMount.with { mount throws in
                let file = mount.path + "/sys/devices/system/node/node1/cdm/isolation"
                #expect(try Client.pollstorm(file, 500)["processes"] == 16)
                #expect(try mount.text("sys/devices/system/node/online") == "0-1\n")
            }
        }

        @Test("Files whose writes take long: an inode for each open, however many come at once")
        func openingJobFiles() throws {
            try TestMount.with { mount throws in
                let file = mount.path + "/sys/devices/system/memory/memory1/state"
                #expect(try status(file).st_ino == (try status(file).st_ino))
                let first = try FileDescriptor.open(FilePath(file), .readWrite)
                let second = try FileDescriptor.open(FilePath(file), .readWrite)
                defer {
                    try? first.close()
                    try? second.close()
                }
                // An open that has no name to look up: the same inode will do.
                try FileDescriptor.open(FilePath("/proc/self/fd/\(first.rawValue)"), .readOnly).close()
                #expect(try first.writeAll("offline".utf8) == 7)
                #expect(try second.writeAll("online".utf8) == 6)
                #expect(try Client.pollstorm(file, 200)["processes"] == 16)
                #expect(try mount.text("sys/devices/system/memory/memory1/state") == "online\n")
            }
        }

        @Test("Who waits to write while a job runs can be killed")
        func secondWriter() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 20, policy: "prefer:1")
                try Client.pattern("write", file, 0, "64M", 4)
                // Two seconds and more.
                let link = "sys/class/cdm/cdm0/link"
                try mount.store("30", in: link + "/read_bandwidth")
                try mount.store("real", in: link + "/pace")
                let migrate = mount.path + "/" + mount.control("a") + "/migrate"
                let first = try Child(["sh", "-c", "echo 0 > \(migrate)"])
                #expect(try eventually { try mount.text(mount.control("a") + "/migrate").hasPrefix("state=running") })
                let second = try Child(["sh", "-c", "echo ready; exec echo 0 > \(migrate)"])
                #expect(try second.line() == "ready")
                second.kill(SIGKILL)
                _ = try second.finish()
                #expect(try first.finish(within: 60).succeeded)
                #expect(try mount.placement("a") == [0: 64 << 8])
            }
        }
    }
}
