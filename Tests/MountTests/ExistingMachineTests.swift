import CLinux
import Foundation
import SystemPackage
import TestSupport
import Testing

extension Mounts {
    /// Machines as they exist: device nodes without memory, and more nodes possible than present.
    @Suite("Machines that exist")
    struct ExistingMachineTests {
        /// A machine with two sockets, as of a GB200: the GPUs' memory, and nodes for parts of them that are not made yet.
        static let gb200 = TopologyText.file(
            block: "16M",
            [TopologyText.ram(0, "128M", cpus: "0"), TopologyText.ram(1, "128M", cpus: "1")]
                + (2..<18).map { id in
                    TopologyText.coherent(id, id % 8 == 2 ? "64M" : "0", "contiguous = \"0\"")
                }, keys: "possible = \"0-255\"")

        private static let nodeFolder = "sys/devices/system/node"

        @Test("Nodes without memory are there, and everything can be done to their devices")
        func empty() throws {
            try TestMount.with(Self.gb200) { mount in
                #expect(try mount.word(Self.nodeFolder + "/possible") == "0-255")
                #expect(try mount.word(Self.nodeFolder + "/online") == "0-17")
                #expect(try mount.word(Self.nodeFolder + "/has_memory") == "0-2,10")
                #expect(try mount.word(Self.nodeFolder + "/is_coherent_device") == "2-17")
                #expect(try mount.meminfo(3)["MemTotal"] == 0)
                let device = "sys/class/cdm/cdm1"
                #expect(try mount.word(device + "/size") == "0" && mount.word(device + "/state") == "offline")
                #expect(try mount.entry("dev/cdm1").status.st_size == 0)
                #expect(try mount.text("dev/cdm1").isEmpty)
                #expect(throws: Errno.noSpace) { try mount.store("x", in: "dev/cdm1") }
                let walk = try run([
                    "find", mount.path + "/sys", "-type", "f", "-perm", "/444", "!", "-name", "uevents", "!", "-name",
                    "trace_pipe*", "-exec", "cat",
                    "{}", "+",
                ])
                #expect(walk.succeeded && walk.errors.isEmpty, "\(walk.errors)")

                try mount.makeBuffer("a", size: 1 << 20)
                #expect(throws: Errno.invalidArgument) {
                    try mount.store("bind:3", in: mount.control("a") + "/policy")
                }
                try mount.fill(mount.path + "/buffers/a", limit: 1 << 20)
                #expect(throws: Errno.self) { try mount.store("3", in: mount.control("a") + "/migrate") }
                #expect(try mount.placement("a").values.reduce(0, +) == 256)
                let rescan = "sys/class/cdm/rescan"
                // Whatever the answers are, the daemon lives on, and the device comes back as it was.
                for (text, file) in [
                    ("online", "state"), ("offline", "state"), ("1", "remove"), ("1", rescan),
                    ("down", "link/state"),
                    ("up", "link/state"), ("1", rescan), ("force", "remove"), ("1", rescan),
                    ("fill a 0 4096 1", "queue/submit"), ("read a 0 4096", "queue/submit"),
                ] { try? mount.store(text, in: file == rescan ? file : device + "/" + file) }
                for (text, file) in [
                    ("0", "cdm/migrate"), ("driver", "cdm/isolation"), ("none", "cdm/isolation"),
                    ("restricted", "cdm/isolation"), ("exclusive", "cdm/isolation"), ("1", "compact"),
                    ("4K", "reclaim"),
                    ("1", "hugepages/hugepages-2048kB/nr_hugepages"),
                ] { try? mount.store(text, in: Self.nodeFolder + "/node3/" + file) }
                #expect(try mount.word(device + "/size") == "0" && mount.nodes() == Array(0...17))
                #expect(try mount.word(Self.nodeFolder + "/has_memory") == "0-2,10")
                #expect(try mount.word(Self.nodeFolder + "/node3/cdm/isolation").contains("[exclusive]"))

                // A cpuset may name what is possible; what is there counts.
                let group = "sys/fs/cgroup/g"
                try FileManager.default.createDirectory(
                    atPath: mount.path + "/" + group, withIntermediateDirectories: false)
                try mount.store("1,3,200", in: group + "/cpuset.mems")
                #expect(try mount.word(group + "/cpuset.mems") == "1,3,200")
                #expect(try mount.word(group + "/cpuset.mems.effective") == "1")
                #expect(throws: Errno.invalidArgument) { try mount.store("256", in: group + "/cpuset.mems") }
                #expect(throws: Errno.invalidArgument) { try mount.store("9999999999", in: group + "/cgroup.procs") }
                let hardware = try tool(mount, "numactl", "-H")
                #expect(hardware.contains("available: 18 nodes (0-17)\n") && hardware.contains("node 3 size: 0 MB\n"))
            }
        }

        /// Directories of sys/ whose link count is another than two and one for each directory in them.
        private func miscounted(_ mount: TestMount) throws -> [String] {
            let walk = try run(["find", mount.path + "/sys", "-type", "d", "-printf", "%n %P\\n"])
            try #require(walk.succeeded, "\(walk.errors)")
            let lines = walk.output.split(separator: "\n").map {
                $0.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
            }
            let inside = lines.dropFirst().reduce(into: [:]) { counts, line in
                counts[FilePath(String(line[1])).removingLastComponent().string, default: 0] += 1
            }
            return lines.compactMap { line in
                let count = 2 + inside[String(line[1]), default: 0]
                return line[0] == "\(count)" ? nil : "sys/\(line[1]): \(line[0]); expected \(count)"
            }
        }

        @Test("The link count of a directory of sys/ counts what is in it, whatever comes and goes")
        func linkCounts() throws {
            try TestMount.with(Self.gb200, checkingLeaks: false) { mount in
                func check(_ what: String) throws {
                    var wrong: [String] = []
                    // The kernel is told of a change a moment after it.
                    let isRight = try eventually(within: 5) {
                        wrong = try miscounted(mount)
                        return wrong.isEmpty
                    }
                    #expect(isRight, "\(what): \(wrong)")
                }
                #expect(try miscounted(mount) == [])
                #expect(try mount.entry("sys/devices/system/memory").status.st_nlink >= 2 + 16 + 8)
                try mount.makeBuffer("a", size: 4096)
                try FileManager.default.createDirectory(
                    atPath: mount.path + "/buffers/d", withIntermediateDirectories: false)
                try mount.makeBuffer("d/b", size: 4096)
                try check("buffers")
                #expect(try mount.entry("sys/kernel/cdm/buffers").status.st_nlink == 4)
                // A socket has no controls.
                let socket = mount.path + "/buffers/s"
                #expect(unsafe mknod(socket, S_IFSOCK | 0o600, 0) == 0)
                try check("mknod")
                #expect(unsafe rename(socket, mount.path + "/buffers/a") == 0)
                try check("rename of a socket")
                #expect(unsafe unlink(mount.path + "/buffers/a") == 0)
                try check("unlink of a socket")
                try mount.makeBuffer("a", size: 4096)
                #expect(unsafe rename(mount.path + "/buffers/a", mount.path + "/buffers/d/a") == 0)
                try check("rename")
                try FileManager.default.createDirectory(
                    atPath: mount.path + "/sys/fs/cgroup/g", withIntermediateDirectories: false)
                try check("mkdir")
                try mount.store("force", in: "sys/class/cdm/cdm0/remove")
                try check("remove")
                try mount.store("1", in: "sys/class/cdm/rescan")
                try check("rescan")
                let probed = 2 * (128 << 20) + 2 * (64 << 20)
                try mount.store("\(probed)", in: "sys/devices/system/memory/probe")
                try check("probe")
                try FileManager.default.removeItem(atPath: mount.path + "/buffers/d")
                try check("rmdir")
            }
        }
    }
}
