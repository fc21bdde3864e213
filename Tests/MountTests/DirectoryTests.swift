import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Names, directories, permissions and owners below buffers/.
    @Suite("Directories")
    struct DirectoryTests {
        @Test("Directories, and the controls of what is in them")
        func directories() throws {
            try TestMount.with { mount in
                let buffers = mount.path + "/buffers"
                try check(unsafe mkdir(buffers + "/a", 0o755))
                try check(unsafe mkdir(buffers + "/a/b", 0o755))
                try mount.makeBuffer("a/b/c", size: 8192, policy: "bind:1")
                #expect(try mount.text("sys/kernel/cdm/buffers/a/b/c/size") == "8192\n")
                #expect(try mount.entry("buffers/a").status.st_nlink == 3)
                #expect(unsafe rmdir(buffers + "/a") == -1 && errno == ENOTEMPTY)
                #expect(unsafe mkdir(buffers + "/a", 0o755) == -1 && errno == EEXIST)
                #expect(unsafe rmdir(buffers + "/a/b/c") == -1 && errno == ENOTDIR)
                #expect(unsafe unlink(buffers + "/a/b") == -1 && [EISDIR, EPERM].contains(errno))
                #expect(unsafe rename(buffers + "/a", buffers + "/a/b/d") == -1 && errno == EINVAL)
                try check(unsafe rename(buffers + "/a/b/c", buffers + "/c"))
                #expect(try mount.text("sys/kernel/cdm/buffers/c/policy") == "bind:1\n")
                #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry("sys/kernel/cdm/buffers/a/b/c") }
                try check(unsafe rmdir(buffers + "/a/b"))
                #expect(try mount.entry("buffers/a").status.st_nlink == 2)
            }
        }

        @Test("A directory of a thousand buffers lists each of them once")
        func manyBuffers() throws {
            try TestMount.with { mount in
                let names = (0..<1000).map { "buffer-\($0)" }
                for name in names { try mount.makeBuffer(name, size: 4096) }
                for folder in ["buffers", "sys/kernel/cdm/buffers"] {
                    let listed = try FileManager.default.contentsOfDirectory(atPath: mount.path + "/" + folder)
                    #expect(listed.count == names.count, "\(folder)")
                    #expect(Set(listed).symmetricDifference(names).isEmpty, "\(folder)")
                }
            }
        }

        @Test("Links, device nodes and fifos are EPERM")
        func otherKinds() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 0)
                let new = mount.path + "/buffers/new"
                #expect(unsafe link(file, new) == -1 && errno == EPERM)
                #expect(unsafe symlink("a", new) == -1 && errno == EPERM)
                #expect(unsafe mkfifo(new, 0o644) == -1 && errno == EPERM)
                #expect(unsafe mknod(new, S_IFCHR | 0o644, 259) == -1 && errno == EPERM)
                #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry("buffers/new") }
            }
        }

        @Test("rename(2) replaces, keeps with NOREPLACE, and exchanges")
        func renaming() throws {
            try TestMount.with { mount in
                let one = try mount.makeBuffer("one", size: 4096), two = try mount.makeBuffer("two", size: 8192)
                func size(_ name: String) throws -> off_t { try mount.entry("buffers/\(name)").status.st_size }
                let noReplace = 1, exchange = 2
                #expect(try Client.rename(one, two, noReplace)["errno"] == Int(EEXIST))
                #expect(try Client.rename(one, two, exchange)["errno"] == 0)
                #expect(try size("one") == 8192)
                #expect(try mount.text("sys/kernel/cdm/buffers/one/size") == "8192\n")
                #expect(try mount.text("sys/kernel/cdm/buffers/two/size") == "4096\n")
                try check(unsafe rename(one, two))
                #expect(try size("two") == 8192)
                #expect(throws: Errno.noSuchFileOrDirectory) { try size("one") }
                #expect(unsafe rename(two, mount.path + "/sys/two") == -1 && [EPERM, EXDEV].contains(errno))
                #expect(unsafe rename(two, mount.path + "/dev/two") == -1 && [EPERM, EXDEV].contains(errno))
                #expect(try Client.rename(two, one, noReplace)["errno"] == 0)
                #expect(try Client.rename(two, one, noReplace)["errno"] == Int(ENOENT))
            }
        }

        @Test("A new name is a change of the file, as on tmpfs")
        func changeTimes() throws {
            try TestMount.with { mount in
                let buffers = mount.path + "/buffers/"
                try mount.makeBuffer("a", size: 4096)
                try check(unsafe mkdir(buffers + "d", 0o755))
                func changed(_ name: String) throws -> Timestamp {
                    let time = try mount.entry("buffers/" + name).status.st_ctim
                    return Timestamp(seconds: time.tv_sec, nanoseconds: time.tv_nsec)
                }
                for (name, newName) in [("a", "d/b"), ("d/b", "a"), ("d", "e"), ("e", "d")] {
                    let before = try changed(name)
                    try check(unsafe rename(buffers + name, buffers + newName))
                    #expect(try changed(newName) > before, "\(name) to \(newName)")
                }
                let (file, folder) = (try changed("a"), try changed("d"))
                let exchange =
                    "import ctypes; libc = ctypes.CDLL(None); "
                    + "exit(libc.renameat2(-100, b'\(buffers)a', -100, b'\(buffers)d', 2))"
                #expect(try run(["python3", "-c", exchange]).succeeded)
                #expect(try changed("d") > file && changed("a") > folder)
            }
        }

        /// A point in time that can be compared.
        private struct Timestamp: Comparable {
            let seconds: Int
            let nanoseconds: Int

            static func < (lhs: Timestamp, rhs: Timestamp) -> Bool {
                (lhs.seconds, lhs.nanoseconds) < (rhs.seconds, rhs.nanoseconds)
            }
        }

        @Test("A replaced buffer's memory goes back")
        func replacing() throws {
            try TestMount.with { mount in
                let free = try mount.meminfo(0)["MemFree"]!
                let old = try mount.makeBuffer("old", size: 0), new = try mount.makeBuffer("new", size: 0)
                try mount.fill(old, limit: 8 << 20)
                try mount.fill(new, limit: 1 << 20)
                try check(unsafe rename(new, old))
                #expect(try eventually { try mount.meminfo(0)["MemFree"] == free - 1024 })
            }
        }

        @Test("Permissions hold for other users", .enabled(if: Host.has("setpriv"), "util-linux has setpriv"))
        func otherUsers() throws {
            try TestMount.with(options: ["allow_other"]) { mount in
                let buffers = mount.path + "/buffers"
                // The private directory above the mount point is closed to others.
                try check(unsafe chmod(FilePath(mount.path).removingLastComponent().string, 0o755))
                try check(unsafe mkdir(buffers + "/open", 0o755))
                try check(unsafe chmod(buffers + "/open", 0o777))
                try mount.makeBuffer("closed", size: 4096)
                func shell(_ script: String) throws -> Outcome {
                    try run([
                        "setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "sh", "-c",
                        "umask 027; " + script,
                    ])
                }
                let made = try shell("echo mine > \(buffers)/open/mine && cat \(buffers)/open/mine")
                #expect(made.output == "mine\n", "\(made.errors)")
                let status = try mount.entry("buffers/open/mine").status
                #expect(status.st_uid == 1234 && status.st_gid == 1234 && status.st_mode == S_IFREG | 0o640)
                for forbidden in [
                    "cat \(buffers)/closed", "echo x > \(buffers)/closed",
                    "rm -f \(buffers)/closed", "chmod 666 \(buffers)/closed", "chown 1234 \(buffers)/closed",
                    "chown 0 \(buffers)/open/mine", "touch -d yesterday \(buffers)/closed",
                    "echo none > \(mount.path)/sys/devices/system/node/node1/cdm/isolation",
                    "echo offline > \(mount.path)/sys/class/cdm/cdm0/state",
                ] {
                    #expect(try !shell(forbidden).succeeded, "\(forbidden)")
                }
                #expect(try shell("cat \(mount.path)/sys/devices/system/node/online").output == "0-1\n")
                try check(unsafe chown(buffers + "/closed", 1234, 1234))
                #expect(try shell("echo x > \(buffers)/closed && chmod 600 \(buffers)/closed").succeeded)
                #expect(
                    try mount.text("sys/devices/system/node/node1/cdm/isolation")
                        == "none [exclusive] restricted driver private\n")
                // Who writes a program takes the rights away that it ran with, and who truncates it, too.
                for script in [
                    "printf x | dd of=FILE conv=notrunc", "echo x > FILE", "truncate -s 8192 FILE",
                    "fallocate -l 8192 FILE", "fallocate -p -l 4096 FILE",
                ] {
                    let file = buffers + "/open/program"
                    try mount.makeBuffer("open/program", size: 4096)
                    try check(unsafe chmod(file, 0o6777))
                    #expect(try shell(script.replacingOccurrences(of: "FILE", with: file)).succeeded)
                    #expect(try mount.entry("buffers/open/program").permissions == 0o777, "\(script)")
                    try check(unsafe unlink(file))
                }
            }
        }

        @Test("Modes and owners of buffers and directories")
        func modesAndOwners() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 0)
                #expect(try mount.entry("buffers/a").permissions == 0o600)
                try check(unsafe chmod(file, 0o4751))
                #expect(try mount.entry("buffers/a").permissions == 0o4751)
                try check(unsafe chown(file, 5, 6))
                let owned = try mount.entry("buffers/a").status
                #expect(owned.st_uid == 5 && owned.st_gid == 6)
                #expect(owned.st_mode & 0o7777 == 0o751, "chown(2) takes away set-user-ID")
                try check(unsafe chown(file, uid_t.max, 7))
                #expect(try mount.entry("buffers/a").status.st_uid == 5)
                let folder = mount.path + "/buffers/d"
                try check(unsafe mkdir(folder, 0o1770))
                #expect(try mount.entry("buffers/d").permissions & 0o1700 == 0o1700)
                try check(unsafe chmod(folder, 0o2775))
                try check(unsafe chown(folder, 5, 6))
                #expect(try mount.entry("buffers/d").permissions == 0o2775, "a directory keeps set-group-ID")
                var status = stat()
                let long = mount.path + "/buffers/" + String(repeating: "x", count: 256)
                #expect(unsafe lstat(long, &status) == -1 && errno == ENAMETOOLONG)
            }
        }
    }
}
