import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// What two unprivileged users can do to each other, and to everybody: nothing.
    @Suite("Among users", .enabled(if: Host.has("setpriv"), "util-linux has setpriv"))
    struct UserTests {
        private static let alice = 4321
        private static let bob = 1234

        /// The command that runs a scene of Tests/Clients/names.py as a user.
        private func command(_ scene: String, _ mount: TestMount, _ arguments: String..., as user: Int) -> [String] {
            ["python3", Client.names, "\(user)", scene, mount.path] + arguments
        }

        /// The lines that a scene prints.
        private func lines(_ command: [String]) throws -> [String] {
            let outcome = try run(command, within: 120)
            try #require(outcome.succeeded, "\(outcome.errors)")
            return outcome.output.split(separator: "\n").map(String.init)
        }

        private func with(options: [String] = [], _ body: (TestMount) throws -> Void) throws {
            try TestMount.with(options: options) { mount in
                // The private directory above the mount point is closed to others.
                try check(unsafe chmod(FilePath(mount.path).removingLastComponent().string, 0o755))
                try body(mount)
            }
        }

        private func makeDirectory(_ name: String, _ mount: TestMount, mode: mode_t, owner: Int) throws {
            let path = "\(mount.path)/buffers/\(name)"
            try check(unsafe mkdir(path, 0o700))
            try check(unsafe chown(path, uid_t(owner), gid_t(owner)))
            try check(unsafe chmod(path, mode))
        }

        @discardableResult
        private func makeBuffer(
            _ name: String, _ mount: TestMount, size: Int = 4096, mode: mode_t, owner: Int
        ) throws -> String {
            let path = try mount.makeBuffer(name, size: size)
            try check(unsafe chown(path, uid_t(owner), gid_t(owner)))
            try check(unsafe chmod(path, mode))
            return path
        }

        @Test("Nobody ends the daemon with deep directories")
        func deep() throws {
            try with { mount throws in
                let daemon = try #require(mount.daemons().first)
                try makeDirectory("open", mount, mode: 0o777, owner: Self.alice)
                let lines = try lines(command("deep", mount, as: Self.bob))
                let depth = try #require(lines.first?.split(separator: " ").first.flatMap { Int($0) })
                #expect((1800...2048).contains(depth), "\(depth) directories of one letter")
                let refused = "\(ENAMETOOLONG)"
                #expect(lines == ["\(depth) \(refused)", refused, "True", refused])
                #expect(try mount.text("sys/devices/system/node/node1/cdm/blockers") == "")
                #expect(mount.daemons() == [daemon])
                let removed = try run(["rm", "-rf", mount.path + "/buffers/open"], within: 60)
                #expect(removed.succeeded, "\(removed.errors)")
            }
        }

        @Test("Whoever opens a long text often, and reads a little, makes the daemon keep little")
        func handles() throws {
            try with { mount throws in
                let daemon = try #require(mount.daemons().first)
                let file = try makeBuffer("a", mount, size: 0, mode: 0o666, owner: Self.alice)
                try mount.store("interleave:0-1", in: mount.control("a") + "/policy")
                try mount.fill(file, limit: 64 << 20)
                let pages = mount.control("a") + "/pages"
                #expect(try mount.text(pages).utf8.count > 400_000)
                func resident() throws -> Int {
                    let line = try procfs("\(daemon)/status").split(separator: "\n").first { $0.hasPrefix("RssAnon:") }
                    return try #require(
                        line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) })
                }
                let before = try resident()
                let opener = try Child(command("handles", mount, pages, "300", as: Self.bob))
                #expect(try opener.line() == "ready")
                #expect(try resident() - before < 24 << 10, "300 times as much as was read, not as there is")
                opener.kill(SIGKILL)
                _ = try opener.finish()
            }
        }

        @Test("Whoever may write to a file may not place it: that is for its owner and root")
        func controls() throws {
            try with { mount throws in
                try makeBuffer("shared", mount, mode: 0o666, owner: Self.alice)
                let names = ["policy", "huge", "pinned", "migrate", "contiguous", "mapping"]
                #expect(
                    try lines(command("place", mount, "shared", as: Self.bob))
                        == names.map { "\($0) \(EACCES) \(EPERM)" })
                #expect(try mount.word(mount.control("shared") + "/policy") == "default")
                #expect(try lines(command("place", mount, "shared", as: Self.alice)) == names.map { "\($0) 0 0" })
                #expect(try mount.word(mount.control("shared") + "/policy") == "bind:1")
                #expect(try lines(command("place", mount, "shared", as: 0)) == names.map { "\($0) 0 0" })
                // What is poisoned is lost to all.
                let poison = mount.path + "/" + mount.control("shared") + "/poison"
                let outcome = try run([
                    "setpriv", "--reuid", "\(Self.alice)", "--clear-groups", "sh", "-c", "echo 0 > \(poison)",
                ])
                #expect(!outcome.succeeded)
                // An owner by capability.
                #expect(try lines(command("capable", mount, "shared", as: Self.bob)) == ["done"])
                #expect(try mount.word(mount.control("shared") + "/policy") == "bind:0")
            }
        }

        @Test("A closed door is closed: names, sizes and controls, and opens and closes at once")
        func closedDoor() throws {
            try with { mount throws in
                try makeDirectory("closed", mount, mode: 0o700, owner: Self.alice)
                try makeBuffer("closed/secret", mount, mode: 0o644, owner: Self.alice)
                try makeBuffer("private", mount, mode: 0o600, owner: Self.alice)
                let all = [String](repeating: "True", count: 7) + ["False True"]
                let none = [String](repeating: "\(EACCES)", count: 7) + ["False True"]
                #expect(try lines(command("look", mount, as: Self.bob)) == none)
                #expect(try lines(command("look", mount, as: Self.alice)) == all)
                for round in 0..<3 {
                    try check(unsafe chmod(mount.path + "/buffers/closed", 0o755))
                    try check(unsafe chmod(mount.path + "/buffers/private", 0o644))
                    #expect(try lines(command("look", mount, as: Self.bob)) == all, "\(round)")
                    try check(unsafe chmod(mount.path + "/buffers/closed", 0o700))
                    try check(unsafe chmod(mount.path + "/buffers/private", 0o600))
                    #expect(try lines(command("look", mount, as: Self.bob)) == none, "\(round)")
                }
            }
        }

        @Test("Events and blockers tell a path to those who may see it")
        func paths() throws {
            try with { mount throws in
                let readers = try [Self.bob, Self.alice].map { try Child(command("listen", mount, as: $0)) }
                for reader in readers { #expect(try reader.line() == "ready") }
                try makeDirectory("closed", mount, mode: 0o700, owner: Self.alice)
                let secret = try makeBuffer("closed/secret", mount, mode: 0o666, owner: Self.alice)
                let number = try status(secret).st_ino
                let moved = mount.path + "/buffers/moved"
                try check(unsafe rename(secret, moved))
                try makeBuffer("end", mount, mode: 0o600, owner: Self.alice)
                let seen = try readers.map { reader in
                    try reader.finish().output.split(separator: "\n").map(String.init)
                }
                #expect(seen[1] == ["closed", "closed/secret", "moved", "end"])
                #expect(seen[0] == ["closed", "inode:\(number)", "moved", "end"])
            }
        }

        @Test("Devices are for whoever mounts and a group, unless options say otherwise")
        func devices() throws {
            try with { mount throws in
                for device in ["cdm0", "hmm_dmirror0"] {
                    let status = try mount.entry("dev/\(device)").status
                    #expect(status.st_mode & 0o7777 == 0o660 && status.st_uid == 0 && status.st_gid == 0, "\(device)")
                }
                #expect(try lines(command("device", mount, as: Self.bob)) == ["\(EACCES)", "\(EACCES)"])
            }
            try with(options: ["dev_gid=\(Self.bob)"]) { mount throws in
                #expect(try mount.entry("dev/cdm0").status.st_gid == gid_t(Self.bob))
                #expect(try lines(command("device", mount, as: Self.bob)) == ["0", "0"])
                #expect(try lines(command("device", mount, as: Self.alice)) == ["\(EACCES)", "\(EACCES)"])
            }
            try with(options: ["dev_mode=666"]) { mount throws in
                #expect(try lines(command("device", mount, as: Self.alice)) == ["0", "0"])
            }
            for word in [
                "dev_mode=", "dev_mode=888", "dev_mode=1777", "dev_gid=-1", "dev_gid=video", "dev_gid=4294967295",
            ] {
                try TestMount.unmounted { mount in
                    let outcome = try run(mount.command(options: [word]))
                    #expect(
                        outcome.ending == .exited(64) && outcome.errors.contains("dev_"), "\(word) \(outcome.errors)")
                    #expect(outcome.errors.split(separator: "\n").count == 1)
                }
            }
        }

        @Test(
            "On a user's own mount the tour goes as ever", .enabled(if: Host.has("unshare"), "util-linux has it"))
        func ownMount() throws {
            try TestMount.unmounted { mount in
                let folder = (mount.path as NSString).deletingLastPathComponent
                for path in [folder, mount.path] { try #require(unsafe chown(path, 65534, 65534) == 0) }
                // In a namespace of its own, where anybody may open /dev/fuse.
                let outside = """
                    mknod -m 666 \(folder)/fuse c 10 229 && mount --bind \(folder)/fuse /dev/fuse || exit 3
                    exec setpriv --reuid 65534 --regid 65534 --clear-groups bash -c "$0" - "$@"
                    """
                let script = """
                    "$@" || exit 2
                    cd \(mount.path) && a=sys/kernel/cdm/buffers/a
                    stat -c '%a %u' dev/cdm0
                    truncate -s 1M buffers/a; echo bind:1 > $a/policy; chmod 755 buffers/a
                    head -c 1M /dev/zero | tr '\\0' x > buffers/a; cat $a/placement
                    echo 0 > $a/migrate; cat $a/placement
                    echo 0x3000 > $a/poison; grep -c poisoned $a/pages
                    echo x | dd of=dev/cdm0 conv=notrunc status=none; head -c 1 dev/cdm0; echo
                    echo none > sys/devices/system/node/node1/cdm/isolation
                    cat sys/devices/system/node/node1/cdm/isolation
                    cd / && \(Host.cdmfs) unmount \(mount.path)
                    """
                let outcome = try run(
                    ["unshare", "--mount", "bash", "-c", outside, script] + mount.command(),
                    environment: mount.environment)
                #expect(outcome.succeeded, "\(outcome.ending) \(outcome.errors)")
                #expect(
                    outcome.output.split(separator: "\n").map(String.init) == [
                        "660 65534", "N1=256", "N0=256", "1", "x", "[none] exclusive restricted driver private",
                    ], "\(outcome.output) \(outcome.errors)")
            }
        }
    }
}
