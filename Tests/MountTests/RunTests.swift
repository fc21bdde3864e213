import Foundation
import Testing

extension Mounts {
    /// `cdmfs run` itself; what the tools see there stands in the suites of the tools.
    @Suite("Run")
    struct RunTests {
        private func tool(_ mount: TestMount, _ command: String...) throws -> Outcome {
            try run([Host.cdmfs, "run", "--mount", mount.path, "--"] + command)
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
                let table = try procfs("self/mountinfo")
                #expect(!table.contains("/sys/devices/system/node "))
                let wrong = try run([Host.cdmfs, "run", "--mount", "/", "--", "true"])
                #expect(!wrong.succeeded)
                #expect(wrong.errors.split(separator: "\n").count == 1, "\(wrong.errors)")
            }
        }
    }
}
