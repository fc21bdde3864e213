import Foundation
import Testing

extension Mounts {
    /// Unmodified tools see the simulated machine under `cdmfs run`.
    @Suite("Tools")
    struct ToolTests {
        private func tool(_ mount: TestMount, _ command: String...) throws -> Outcome {
            try run([Host.cdmfs, "run", "--mount", mount.path, "--"] + command)
        }

        @Test("numactl -H", .enabled(if: Host.has("numactl"), "numactl is not installed"))
        func numactl() throws {
            try TestMount.with { mount in
                let outcome = try tool(mount, "numactl", "-H")
                try #require(outcome.succeeded, "\(outcome.errors)")
                let lines = outcome.output.split(separator: "\n").map(String.init)
                #expect(lines.contains("available: 2 nodes (0-1)"))
                #expect(lines.contains("node 0 size: 256 MB"))
                #expect(lines.contains("node 1 size: 256 MB"))
                #expect(lines.contains { $0.trimmingCharacters(in: .whitespaces) == "node 1 cpus:" })
                #expect(lines.contains { $0.wholeMatch(of: /node 0 cpus:(\ \d+)+/) != nil })
                let table = lines.suffix(3).map { $0.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
                #expect(table == ["node 0 1", "0: 10 40", "1: 40 10"])
            }
        }

        @Test("numastat -m", .enabled(if: Host.has("numastat"), "numactl is not installed"))
        func numastat() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 20, policy: "bind:1")
                try mount.fill(file, limit: 64 << 20)
                let outcome = try tool(mount, "numastat", "-m")
                try #require(outcome.succeeded, "\(outcome.errors)")
                let rows = outcome.output.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace) }
                func row(_ name: String) -> [Substring]? { rows.first { $0.first ?? "" == name } }
                #expect(row("MemTotal") == ["MemTotal", "256.00", "256.00", "512.00"])
                #expect(row("MemUsed") == ["MemUsed", "0.00", "64.00", "64.00"])
                #expect(row("FilePages") == ["FilePages", "0.00", "64.00", "64.00"])
            }
        }

        @Test("numastat", .enabled(if: Host.has("numastat"), "numactl is not installed"))
        func counters() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 4 << 20, policy: "bind:1")
                try mount.fill(file, limit: 4 << 20)
                let outcome = try tool(mount, "numastat")
                try #require(outcome.succeeded, "\(outcome.errors)")
                let rows = outcome.output.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace) }
                #expect(rows.contains(["numa_hit", "0", "1024"]), "\(outcome.output)")
            }
        }

        @Test("lsmem", .enabled(if: Host.has("lsmem"), "util-linux has lsmem"))
        func lsmem() throws {
            try TestMount.with { mount in
                let outcome = try tool(mount, "lsmem", "--bytes", "--summary=only")
                try #require(outcome.succeeded, "\(outcome.errors)")
                let rows = outcome.output.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace).last }
                #expect(rows == ["\(Machines.blockSize)", "\(2 * Machines.nodeSize)", "0"], "\(outcome.output)")
            }
        }

        @Test("run: the exit status is the command's, and the host stays as it is")
        func running() throws {
            try TestMount.with { mount in
                #expect(try tool(mount, "true").ending == .exited(0))
                #expect(try tool(mount, "sh", "-c", "exit 7").ending == .exited(7))
                #expect(try tool(mount, "no-such-command").ending == .exited(127))
                #expect(try tool(mount, "/etc/passwd").ending == .exited(126))
                #expect(try tool(mount, "cat", "/sys/devices/system/node/online").output == "0-1\n")
                #expect(try tool(mount, "cat", "/sys/devices/system/memory/block_size_bytes").output == "1000000\n")
                // Nothing else of the host changes.
                let uname = try String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8)
                #expect(try tool(mount, "cat", "/proc/sys/kernel/osrelease").output == uname)
                let host = try String(contentsOfFile: "/sys/devices/system/cpu/online", encoding: .utf8)
                #expect(try tool(mount, "cat", "/sys/devices/system/cpu/online").output == host)
                let table = try String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)
                #expect(!table.contains("/sys/devices/system/node "))
                let wrong = try run([Host.cdmfs, "run", "--mount", "/", "--", "true"])
                #expect(!wrong.succeeded)
                #expect(wrong.errors.split(separator: "\n").count == 1, "\(wrong.errors)")
            }
        }
    }
}
