import CLinux
import Fuse
import Glibc
import LinuxSupport
import SystemPackage
import Testing

@Suite(
    .serialized, .enabled(if: canMount, "real mounts need root and /dev/fuse"), .overEachTransport,
    .timeLimit(.minutes(2)))
struct OperationTests {
    @Test func filesAreMadeReadAndListed() throws {
        let system = MemoryFileSystem()
        try withMount(system) { mount in
            #expect(writeFile(mount.file("a"), "hello", flags: O_CREAT | O_EXCL | O_WRONLY) == .success(5))
            #expect(readFile(mount.file("a")) == .success("hello"))
            #expect(names(in: mount.path).sorted() == [".", "..", "a"])
            unsafe #expect(rename(mount.file("a"), mount.file("b")) == 0)
            #expect(readFile(mount.file("a")) == .failure(.noSuchFileOrDirectory))
            unsafe #expect(truncate(mount.file("b"), 2) == 0)
            #expect(readFile(mount.file("b")) == .success("he"))
            unsafe #expect(chmod(mount.file("b"), 0o600) == 0)
            var status = stat()
            #expect(unsafe stat(mount.file("b"), &status) == 0)
            #expect(status.st_mode == 0o100600 && status.st_size == 2)
            unsafe #expect(unlink(mount.file("b")) == 0)
            #expect(names(in: mount.path).sorted() == [".", ".."])
        }
        #expect(system.state.withLock { $0.isDestroyed })
        #expect(throws: Errno.operationNotSupportedByDevice) { try system.notifier.invalidate(2) }
    }

    @Test(arguments: [false, true]) func directoriesLargerThanABuffer(plus: Bool) throws {
        let files = (0..<2000).map { (FileName("file number \($0)"), MemoryFileSystem.Kind.plain) }
        try withMount(MemoryFileSystem(readdirplus: plus, files: files)) { mount in
            #expect(names(in: mount.path).count == 2002)
            #expect(Set(names(in: mount.path)).count == 2002)
        }
    }

    @Test func namesAreBytes() throws {
        try withMount(MemoryFileSystem()) { mount in
            let (composed, decomposed) = ("\u{e9}", "e\u{301}")
            #expect(FileName(composed) != FileName(decomposed))
            #expect(writeFile(mount.file(composed), "1", flags: O_CREAT | O_EXCL | O_WRONLY) == .success(1))
            #expect(writeFile(mount.file(decomposed), "2", flags: O_CREAT | O_EXCL | O_WRONLY) == .success(1))
            #expect(names(in: mount.path).count == 4)
            let illegal = mount.path.utf8CString.dropLast() + [CChar(UInt8(ascii: "/")), CChar(-1), 0]
            #expect(unsafe outcome(Int(open(Array(illegal), O_RDONLY))) == .failure(.noSuchFileOrDirectory))
            let made = unsafe outcome(Int(open(Array(illegal), O_CREAT | O_WRONLY, 0o644)))
            #expect(made == .failure(.illegalByteSequence) || made == .failure(.noSuchFileOrDirectory))
        }
    }

    @Test func whatIsNotOverriddenAnswersAsLibfuseDoes() throws {
        try withMount(MemoryFileSystem(files: [("a", .plain)])) { mount in
            unsafe #expect(outcome(Int(mkdir(mount.file("d"), 0o755))) == .failure(.noFunction))
            // The kernel makes EPERM of it.
            #expect(outcome(Int(unsafe link(mount.file("a"), mount.file("b")))) == .failure(.notPermitted))
            let temporary: Int32 = 0o20200000  // O_TMPFILE
            unsafe #expect(outcome(Int(open(mount.path, temporary | O_RDWR, 0o600))) == .failure(.notSupportedOnSocket))
            var statistics = statvfs()
            #expect(unsafe statvfs(mount.path, &statistics) == 0 && statistics.f_namemax == 255)
            let descriptor = unsafe open(mount.file("a"), O_RDWR)
            #expect(fsync(descriptor) == 0)
            #expect(outcome(Int(fallocate(descriptor, 0, 0, 1))) == .failure(.notSupportedOnSocket))
            #expect(close(descriptor) == 0)
        }
    }

    @Test func extendedAttributes() throws {
        try withMount(MemoryFileSystem(files: [("a", .plain)])) { mount in
            var room = [UInt8](repeating: 0, count: 64)
            let path = mount.file("a")
            #expect(unsafe outcome(getxattr(path, "user.x", &room, 64)) == .failure(.noData))
            #expect(unsafe setxattr(path, "user.x", "abc", 3, 0) == 0)
            #expect(unsafe outcome(getxattr(path, "user.x", &room, 64)) == .success(3))
            #expect(unsafe outcome(getxattr(path, "user.x", nil, 0)) == .success(3))
            #expect(unsafe outcome(getxattr(path, "user.x", &room, 2)) == .failure(.outOfRange))
        }
    }

    @Test func aDroppedRequestIsEIO() throws {
        let system = MemoryFileSystem(files: [("dropped", .dropped)])
        system.state.withLock { $0.nodes[2]!.bytes = [1, 2, 3] }
        try withMount(system) { mount in
            #expect(readFile(mount.file("dropped")) == .failure(.ioError))
        }
    }

    @Test func theConnectionIsAsAskedFor() throws {
        let system = MemoryFileSystem()
        var options = MountOptions()
        options.source = "a,b\\c"
        options.others = ["noatime"]
        options.connection.maxRead = 65536
        try withMount(system, options: options) { mount in
            let connection = try #require(system.state.withLock { $0.connection })
            #expect(connection.enabled.contains([.explicitInvalidateData, .asyncRead]))
            #expect(connection.enabled.isDisjoint(with: [.autoInvalidateData, .atomicTruncate, .writebackCache]))
            #expect(!connection.enabled.contains(.readdirplus))
            #expect(connection.maxWrite == 1 << 20)
            let table = try #require(try? readWhole("/proc/self/mountinfo"))
            let line = try #require(table.split(separator: "\n").first { $0.contains(mount.path) })
            #expect(line.contains("fuse.cdmfs a,b\\134c") && line.contains("noatime"))
            #expect(line.contains(mount.session.device!.description))
        }
    }

    @Test func theBackingDeviceIsTuned() throws {
        try withMount(MemoryFileSystem()) { mount in
            #expect(mount.session.tuneBackingDevice(readAheadKilobytes: 512).isEmpty)
            let path = "/sys/class/bdi/\(mount.session.device!)/"
            #expect(readFile(path + "read_ahead_kb") == .success("512\n"))
            #expect(readFile(path + "strict_limit") == .success("0\n"))
        }
    }
}

private func readWhole(_ path: String) throws -> String {
    let file = unsafe try FileDescriptor.open(path, .readOnly)
    return try file.closeAfter {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe try chunk.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += chunk.prefix(count)
        }
    }
}
