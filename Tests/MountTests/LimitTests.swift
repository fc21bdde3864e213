import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// What is scarce is shared among users.
    @Suite("Limits", .enabled(if: Host.has("setpriv"), "util-linux has setpriv"))
    struct LimitTests {
        /// Another user may read neither this package nor, perhaps, the first Python in PATH.
        private static func client() throws -> [String] {
            let file = Host.package.appending("Tests/Clients/limits.py").string
            return ["/usr/bin/python3", "-c", try String(contentsOfFile: file, encoding: .utf8)]
        }

        /// Takes something as a user; "taken=N error=E".
        private func take(_ what: String, as user: Int, _ mount: TestMount, _ arguments: Any...) throws -> String {
            let words = try Self.client() + [what, mount.path] + arguments.map { "\($0)" }
            let asUser = ["setpriv", "--reuid", "\(user)", "--regid", "\(user)", "--clear-groups"]
            let outcome = try run((user == 0 ? [] : asUser) + words)
            try #require(outcome.succeeded, "\(outcome.errors)")
            return outcome.output.trimmingCharacters(in: .newlines)
        }

        private func with(_ options: [String], _ body: (TestMount) throws -> Void) throws {
            try TestMount.with(options: ["allow_other"] + options) { mount in
                // The private directory above the mount point is closed to others.
                let folder = FilePath(mount.path).removingLastComponent().string
                try #require(unsafe chmod(folder, 0o755) == 0)
                try body(mount)
            }
        }

        private func inodes(_ mount: TestMount) throws -> (all: Int, used: Int) {
            var figures = statvfs()
            try #require(unsafe statvfs(mount.path, &figures) == 0)
            return (Int(figures.f_files), Int(figures.f_files) - Int(figures.f_ffree))
        }

        @Test("Names: a user has a share, all have nr_inodes, and df -i shows them")
        func names() throws {
            try with(["nr_inodes=100", "user_limit=30%"]) { mount in
                #expect(try inodes(mount) == (100, 1))
                #expect(try take("files", as: 1234, mount, "a", 50) == "taken=30 error=EDQUOT")
                #expect(try take("directories", as: 1234, mount, "b", 1) == "taken=0 error=EDQUOT")
                #expect(try take("directories", as: 1235, mount, "c", 20) == "taken=20 error=-")
                #expect(try inodes(mount) == (100, 51))
                // No share is kept from root, but there are no more than there are.
                #expect(try take("files", as: 0, mount, "d", 60) == "taken=49 error=ENOSPC")
                #expect(try take("files", as: 1235, mount, "e", 1) == "taken=0 error=ENOSPC")
                let df = try run(["df", "--output=itotal,iused,iavail", mount.path])
                #expect(df.output.split(separator: "\n").last?.split(separator: " ") == ["100", "100", "0"])
                for name in 0..<30 { try FileManager.default.removeItem(atPath: mount.path + "/buffers/a\(name)") }
                #expect(try eventually { try inodes(mount).used == 70 })
                #expect(try take("files", as: 1234, mount, "a", 50) == "taken=30 error=ENOSPC")
            }
        }

        @Test("An inode counts until its last file is closed, whatever became of its name and of who had it open")
        func lifetime() throws {
            try with(["nr_inodes=100"]) { mount in
                let path = mount.path + "/buffers/a"
                let holder = try Child([
                    "python3", "-c",
                    "import os, time; f = os.open('\(path)', os.O_CREAT | os.O_RDWR); os.unlink('\(path)'); print('ready', flush=True); time.sleep(60)",
                ])
                #expect(try holder.line() == "ready")
                #expect(try inodes(mount).used == 2)
                holder.kill(SIGKILL)
                _ = try holder.finish()
                #expect(try eventually { try inodes(mount).used == 1 })
                // Renamed over, and an empty directory over another.
                try mount.makeBuffer("a", size: 4096)
                try mount.makeBuffer("b", size: 4096)
                try #require(unsafe rename(path, mount.path + "/buffers/b") == 0)
                for name in ["d", "e"] { try #require(unsafe mkdir(mount.path + "/buffers/" + name, 0o755) == 0) }
                try #require(unsafe rename(mount.path + "/buffers/d", mount.path + "/buffers/e") == 0)
                #expect(try eventually { try inodes(mount).used == 3 })
                try #require(unsafe rmdir(mount.path + "/buffers/e") == 0)
                #expect(try eventually { try inodes(mount).used == 2 })
            }
        }

        @Test("chown moves the charge")
        func changesOfOwner() throws {
            try with(["nr_inodes=100", "user_limit=10"]) { mount in
                #expect(try take("files", as: 1234, mount, "a", 50) == "taken=10 error=EDQUOT")
                for name in 0..<5 {
                    try #require(unsafe Glibc.chown(mount.path + "/buffers/a\(name)", 1235, 1235) == 0)
                }
                #expect(try take("files", as: 1234, mount, "b", 50) == "taken=5 error=EDQUOT")
                #expect(try take("directories", as: 1235, mount, "c", 50) == "taken=5 error=EDQUOT")
                // Root may give anybody more than a share.
                try #require(unsafe Glibc.chown(mount.path + "/buffers/b0", 1235, 1235) == 0)
                #expect(try take("files", as: 1234, mount, "d", 50) == "taken=1 error=EDQUOT")
            }
        }

        @Test("Frames of a device: a user has a share, by whichever way pages get there, and others have the rest")
        func frames() throws {
            // Of 65,536 frames a hundredth.
            try with(["user_frames=1%"]) { mount in
                let all = "taken=655"
                #expect(try take("frames", as: 1234, mount, "a", "bind:1", "write", 700) == "\(all) error=EDQUOT")
                #expect(try take("frames", as: 1234, mount, "b", "bind:1", "touch", 700) == "taken=0 error=EFAULT")
                #expect(try take("frames", as: 1234, mount, "c", "prefer:1", "write", 100) == "taken=100 error=-")
                #expect(try mount.placement("c") == [0: 100])
                #expect(try take("frames", as: 1235, mount, "d", "bind:1", "touch", 700) == "\(all) error=EFAULT")
                #expect(try take("frames", as: 1236, mount, "e", "bind:0", "migrate", 700) == "taken=700 error=EDQUOT")
                #expect(try mount.placement("e") == [0: 45, 1: 655])
                #expect(try take("frames", as: 0, mount, "f", "bind:1", "write", 700) == "taken=700 error=-")
                // They go with the buffer to its next owner.
                #expect(try run(["chown", "0:0", mount.path + "/buffers/a"]).succeeded)
                #expect(try take("frames", as: 1234, mount, "b", "bind:1", "touch", 700) == "\(all) error=EFAULT")
                try FileManager.default.removeItem(atPath: mount.path + "/buffers/b")
                #expect(
                    try eventually {
                        try take("frames", as: 1234, mount, "g\(UInt32.random(in: 0..<1 << 30))", "bind:1", "write", 1)
                            == "taken=1 error=-"
                    })
                #expect(try take("frames", as: 1237, mount, "h", "bind:1", "direct", 656) == "taken=0 error=EDQUOT")
                #expect(try take("frames", as: 1237, mount, "i", "bind:1", "direct", 655) == "\(all) error=-")
                #expect(try take("frames", as: 1238, mount, "j", "bind:1", "allocate", 656) == "taken=0 error=EDQUOT")
                #expect(try take("frames", as: 1238, mount, "k", "bind:1", "allocate", 655) == "\(all) error=-")
            }
        }

        @Test("Pins count against RLIMIT_MEMLOCK of who pins, and against max_pinned")
        func pins() throws {
            try with(["max_pinned=8M", "user_limit=50"]) { mount in
                #expect(try take("pins", as: 1234, mount, "a", 9, 65536, 5 * 65536) == "taken=5 error=EDQUOT")
                // It is of the user, as of shmctl(2).
                #expect(try take("pins", as: 1234, mount, "b", 9, 65536, 7 * 65536) == "taken=2 error=EDQUOT")
                #expect(try take("pins", as: 1235, mount, "c", 9, 1 << 20, 64 << 20) == "taken=4 error=EDQUOT")
                // Written to its file, it is EAGAIN, as of mmap(2); an attribute cannot say that.
                let control = "\(mount.path)/\(mount.control("a5"))/pinned"
                let written = try run([
                    "prlimit", "--memlock=4096:4096", "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock",
                    "bash", "-c", "echo 1 > \(control)",
                ])
                #expect(written.errors.contains("Resource temporarily unavailable"), "\(written.errors)")
                // Root has CAP_IPC_LOCK, and no share; the whole is the whole.
                #expect(try take("pins", as: 0, mount, "d", 9, 1 << 20, 0) == "taken=3 error=ENOSPC")
                try mount.store("0", in: mount.control("c0") + "/pinned")
                #expect(try take("pins", as: 1235, mount, "e", 9, 1 << 20, 64 << 20) == "taken=1 error=ENOSPC")
                try FileManager.default.removeItem(atPath: mount.path + "/buffers/a0")
                #expect(
                    try eventually {
                        try take("pins", as: 1234, mount, "f\(UInt32.random(in: 0..<1 << 30))", 1, 65536, 7 * 65536)
                            == "taken=1 error=-"
                    })
            }
        }

        @Test(
            "A pinned buffer grows no further than its pin may", arguments: ["ftruncate", "write", "fallocate", "copy"])
        func growth(way: String) throws {
            try with([]) { mount in
                #expect(try take("growth", as: 1234, mount, "a", way, 10 * 4096) == "taken=9 error=EDQUOT")
                try mount.store("0", in: mount.control("a") + "/pinned")
                #expect(try take("growth", as: 1234, mount, "b", way, 10 * 4096) == "taken=9 error=EDQUOT")
            }
        }

        @Test(
            "Capabilities of a user namespace of one's own do not lock memory",
            .enabled(if: Host.has("unshare"), "util-linux has it"))
        func namespace() throws {
            try with([]) { mount in
                let words = [
                    "setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "unshare", "--user",
                    "--map-root-user",
                ]
                let pins = ["pins", mount.path, "a", "9", "65536", "131072"]
                let outcome = try run(words + Self.client() + pins)
                guard outcome.succeeded else { return }  // The host lets nobody make one.
                #expect(outcome.output == "taken=2 error=EDQUOT\n")
            }
        }

        @Test("Direct buffers: a share, the whole, and back")
        func direct() throws {
            try with(["max_direct=10", "user_limit=40"]) { mount in
                try mount.makeBuffer("probe", size: 4096)
                do {
                    try mount.store("direct", in: mount.control("probe") + "/mapping")
                } catch Errno.notSupported {
                    return
                }
                #expect(try take("direct", as: 1234, mount, "a", 9) == "taken=4 error=EDQUOT")
                #expect(try take("direct", as: 0, mount, "b", 9) == "taken=5 error=EMFILE")
                try mount.store("tracked", in: mount.control("a0") + "/mapping")
                try FileManager.default.removeItem(atPath: mount.path + "/buffers/a1")
                #expect(
                    try eventually {
                        try take("direct", as: 1234, mount, "c\(UInt32.random(in: 0..<1 << 30))", 1)
                            == "taken=1 error=-"
                    })
            }
        }

        @Test(
            "Wrong words say what was expected",
            arguments: [
                "nr_inodes=x", "nr_inodes=-1", "user_limit=101", "user_frames=101", "user_limit=1/2", "max_direct=1e9",
                "max_pinned=1Q",
                "size=1G", "seccomp=maybe", "oom_score_adj=1001", "nr_inodes=", "user_limit",
            ])
        func words(option: String) throws {
            let outcome = try run([Host.cdmfs, "mount", "-o", option, "/nonexistent"])
            #expect(outcome.ending == .exited(64))
            #expect(outcome.errors.hasPrefix("cdmfs: mount: ") && outcome.errors.contains("; expected "))
            #expect(outcome.errors.split(separator: "\n").count == 1)
        }

        @Test("In a memory cgroup the daemon refuses what it has no memory for, and lives")
        func memoryGroup() throws {
            guard let group = try MemoryGroup() else { return }
            defer { group.remove() }
            try TestMount.unmounted(Machines.make(ram: "1G", device: "1G"), endsItself: true) { mount in
                try group.limit(192 << 20)
                let mounted = try run(group.entering(mount.command()), environment: mount.environment)
                try #require(mounted.succeeded, "\(mounted.errors)")
                let daemon = try #require(mount.daemons().first)
                let outcome = try run(
                    [
                        "python3", "-c",
                        """
                        import errno, mmap, os
                        block = os.urandom(1 << 20)
                        written = 0
                        file = os.open('\(mount.path)/buffers/a', os.O_RDWR | os.O_CREAT)
                        try:
                            for _ in range(900): written += os.write(file, block)
                            error = 0
                        except OSError as failure: error = failure.errno
                        print(f'written={written >> 20} error={error}')
                        os.ftruncate(file, 32 << 20)
                        again = os.pwrite(file, block, 40 << 20)
                        print(f'again={again >> 20}')
                        """,
                    ], within: 120)
                #expect(outcome.succeeded, "\(outcome.errors)")
                #expect(outcome["error"] == Int(ENOSPC))
                #expect((32...180).contains(outcome["written"] ?? 0), "\(outcome.output)")
                #expect(outcome["again"] == 1)
                #expect(mount.daemons() == [daemon])
                #expect(try run([Host.cdmfs, "unmount", mount.path]).succeeded)
            }
        }
    }
}

/// A memory cgroup of either version for a test.
private struct MemoryGroup {
    private let folder: String
    private let limitFile: String

    /// nil where this process may make none.
    init?() throws {
        let folders = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        for (root, limitFile) in folders {
            let folder = "\(root)/cdmfs-test-\(getpid())"
            guard unsafe mkdir(folder, 0o755) == 0 else { continue }
            if unsafe access("\(folder)/\(limitFile)", W_OK) == 0 {
                self.folder = folder
                self.limitFile = limitFile
                return
            }
            unsafe rmdir(folder)
        }
        return nil
    }

    func limit(_ bytes: Int) throws {
        try "\(bytes)".write(toFile: "\(folder)/\(limitFile)", atomically: false, encoding: .utf8)
    }

    /// A command that runs in the group.
    func entering(_ command: [String]) -> [String] {
        ["sh", "-c", "echo $$ > \(folder)/cgroup.procs && exec \"$@\"", "sh"] + command
    }

    func remove() { _ = eventually(within: 5) { unsafe rmdir(folder) == 0 } }
}
