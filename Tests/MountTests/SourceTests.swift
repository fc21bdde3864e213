import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// What mount(8) and /etc/fstab make of the source, of a second mount, and of a remount.
    @Suite("Source of a mount")
    struct SourceTests {
        private static let helper = Host.package.appending("mount-scripts/mount.cdmfs").string

        /// Types and sources of what is mounted at a path, the lowest first.
        private func mounts(at path: String) throws -> [[String]] {
            try procfs("self/mountinfo").split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
                .filter { $0[4] == path }.map { fields in
                    let hyphen = fields.lastIndex(of: "-")!
                    return Array(fields[(hyphen + 1)...(hyphen + 2)])
                }
        }

        @Test("SPEC is the source; a second mount of it is refused, and one of another source is not")
        func sources() throws {
            try TestMount.unmounted { mount in
                func helped(_ source: String, _ more: String = "") throws -> Outcome {
                    try run(
                        [Self.helper, source, mount.path, "-o", "rw,topology=\(mount.topologyFile)\(more)"],
                        environment: mount.environment)
                }
                let first = try helped("my lab")
                try #require(first.succeeded && first.errors.isEmpty, "\(first.errors)")
                #expect(try mounts(at: mount.path) == [["fuse.cdmfs", "my\\040lab"]])
                #expect(try run(["findmnt", "-no", "SOURCE", mount.path]).output == "my lab\n")
                let again = try helped("my lab")
                #expect(again.ending == .exited(32) && again.output.isEmpty)
                #expect(
                    again.errors
                        == "cdmfs: mount: \(mount.path): my lab is mounted there already; unmount it, or mount over it with -o overmount\n"
                )
                #expect(try mounts(at: mount.path).count == 1 && mount.daemons().count == 1)
                let covering = try helped("my lab", ",overmount")
                let other = try helped("another")
                #expect(covering.succeeded && other.succeeded, "\(covering.errors)\(other.errors)")
                #expect(try mounts(at: mount.path).map { $0[1] } == ["my\\040lab", "my\\040lab", "another"])
                for _ in 1...3 { #expect(try run([Host.cdmfs, "unmount", mount.path]).succeeded) }
            }
        }

        @Test("cdmfs mount refuses a mount over its own; --source and fsname= name another")
        func command() throws {
            try TestMount.with(endsItself: true) { mount in
                #expect(try mounts(at: mount.path) == [["fuse.cdmfs", "cdmfs"]])
                // By another path, too.
                let link = mount.topologyFile + ".link"
                try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: mount.path)
                for path in [mount.path, link, mount.path + "/"] {
                    let outcome = try run(mount.command().dropLast() + [path])
                    #expect(outcome.ending == .exited(32) && outcome.errors.contains("mounted there already"))
                    #expect(outcome.errors.split(separator: "\n").count == 1)
                }
                // A directory of the mount is another place.
                let named = try run(mount.command(flags: ["--source", "lab,1"]), environment: mount.environment)
                #expect(named.succeeded, "\(named.errors)")
                let worded = try run(mount.command(options: ["fsname=lab2"]), environment: mount.environment)
                #expect(worded.succeeded, "\(worded.errors)")
                #expect(try mounts(at: mount.path).map { $0[1] } == ["cdmfs", "lab,1", "lab2"])
                let two = try run(mount.command(options: ["fsname=a"], flags: ["--source", "b"]))
                #expect(two.ending == .exited(64) && two.errors.split(separator: "\n").count == 1)
                for _ in 1...3 { #expect(try run([Host.cdmfs, "unmount", mount.path]).succeeded) }
            }
        }

        @Test("mount -o remount changes the flags, and nothing else")
        func remount() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                func remount(_ words: String) throws -> Outcome {
                    // As mount(8) does it for a line of /etc/fstab, all words of which it passes on.
                    try run(
                        [
                            Self.helper, "cdmfs", mount.path, "-o", "topology=\(mount.topologyFile),nofail,\(words)",
                            "-t", "fuse.cdmfs",
                        ], environment: mount.environment)
                }
                func options() throws -> Set<String> {
                    let line = try procfs("self/mountinfo").split(separator: "\n").first {
                        $0.contains(" \(mount.path) ")
                    }
                    let fields = try #require(line).split(separator: " ")
                    return Set((fields[5].split(separator: ",") + fields.last!.split(separator: ",")).map(String.init))
                }
                try mount.makeBuffer("a", size: 4096)
                let daemons = mount.daemons()
                let outcome = try remount("rw,ro,noexec,remount")
                try #require(outcome.succeeded && outcome.output + outcome.errors == "", "\(outcome)")
                #expect(try options().isSuperset(of: ["ro", "noexec"]))
                #expect(throws: Errno.readOnlyFileSystem) { try mount.store("0", in: mount.control("a") + "/migrate") }
                #expect(throws: Errno.readOnlyFileSystem) {
                    try FileDescriptor.open(FilePath(mount.path + "/buffers/a"), .readWrite).close()
                }
                #expect(try mount.word(mount.control("a") + "/size") == "4096")
                // What nobody speaks of stays.
                #expect(try remount("remount,noatime").succeeded)
                #expect(try options().isSuperset(of: ["ro", "noexec", "noatime"]))
                #expect(try remount("remount,rw").succeeded)
                #expect(try !options().contains("ro") && options().contains("noexec"))
                try mount.store("0", in: mount.control("a") + "/migrate")
                #expect(try mounts(at: mount.path).count == 1 && mount.daemons() == daemons)

                let elsewhere = try run([Host.cdmfs, "mount", "-o", "remount,ro", mount.path + "/buffers"])
                #expect(elsewhere.ending == .exited(32))
                #expect(elsewhere.errors == "cdmfs: mount: \(mount.path)/buffers: remount: not mounted\n")
                let foreign = try run([Host.cdmfs, "mount", "-o", "remount,ro", "/proc"])
                #expect(foreign.ending == .exited(32) && foreign.errors.contains("a mount of type proc"))
            }
        }

        @Test(
            "mount -a twice mounts two machines once; both types, and a remount, come to the helper",
            .enabled(if: Host.has("unshare"), "util-linux has unshare"))
        func fstab() throws {
            try TestMount.unmounted { mount in
                let folder = FilePath(mount.path).removingLastComponent().string
                let second = folder + "/second"
                try FileManager.default.createDirectory(atPath: second, withIntermediateDirectories: false)
                let table = folder + "/fstab"
                try """
                lab-1 \(mount.path) cdmfs topology=\(mount.topologyFile),nofail 0 0
                lab-2 \(second) fuse.cdmfs topology=\(mount.topologyFile),noatime 0 0

                """.write(toFile: table, atomically: false, encoding: .utf8)
                // A /sbin of its own, for the host's may have the helper of another build.
                let script = """
                    set -e
                    for name in mount.cdmfs mount.fuse.cdmfs; do
                        [ -e /sbin/$name ] || { ln -s "\(Self.helper)" /sbin/$name; made="$made /sbin/$name"; }
                    done
                    for name in mount.cdmfs mount.fuse.cdmfs; do
                        [ "$(readlink -f /sbin/$name)" = "\(Self.helper)" ] || mount --bind "\(Self.helper)" /sbin/$name
                    done
                    trap 'rm -f $made' EXIT
                    mount -a -T "\(table)"
                    mount -a -T "\(table)"
                    grep -F ' \(folder)/' /proc/self/mountinfo | sed 's/.* - //; s/ rw.*//'
                    mount -o remount,ro "\(second)"
                    mkdir "\(second)/buffers/x" 2>&1 | grep -o Read-only || true
                    umount "\(mount.path)" "\(second)"
                    """
                let outcome = try run(
                    ["unshare", "--mount", "--propagation", "private", "bash", "-c", script],
                    environment: mount.environment)
                #expect(outcome.succeeded && outcome.errors.isEmpty, "\(outcome.errors)")
                #expect(outcome.output == "fuse.cdmfs lab-1\nfuse.cdmfs lab-2\nRead-only\n")
            }
        }

        @Test(
            "A user who mounts is told in one line what that mount has not, and what would give it",
            .enabled(if: Host.has("setpriv") && Host.has("fusermount3"), "util-linux and fuse3 have them"))
        func unprivileged() throws {
            try TestMount.unmounted { mount in
                let folder = FilePath(mount.path).removingLastComponent().string
                for path in [folder, mount.path] { try #require(unsafe chown(path, 65534, 65534) == 0) }
                // Where udev has not given /dev/fuse to everybody, nor everybody a way to the build.
                let script = """
                    set -e
                    mknod "$2/fuse" c 10 229
                    chmod 666 "$2/fuse"
                    mount --bind "$2/fuse" /dev/fuse
                    cp "$0" "$2/cdmfs"
                    user() { setpriv --reuid 65534 --regid 65534 --clear-groups "$2/cdmfs" "${@:3}"; }
                    user - "$2" mount --topology "$1" "$3"
                    grep -c " $3 " /proc/self/mountinfo
                    user - "$2" unmount "$3"
                    """
                let outcome = try run(
                    [
                        "unshare", "--mount", "--propagation", "private", "bash", "-c", script, Host.cdmfs,
                        mount.topologyFile, folder, mount.path,
                    ], environment: mount.environment)
                #expect(outcome.succeeded && outcome.output == "1\n", "\(outcome)")
                let lines = outcome.errors.split(separator: "\n")
                #expect(lines.count == 1, "\(outcome.errors)")
                for word in ["not root", "direct", "CAP_SYS_ADMIN", "mapped stores", "strict_limit"] {
                    #expect(outcome.errors.contains(word), "\(word)")
                }
            }
        }
    }
}
