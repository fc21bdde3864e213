import CLinux
import Foundation
import Glibc
import SystemPackage
import Testing

private let lastError = "sys/kernel/cdm/last_error"

extension Mounts {
    /// Why a write was refused, for whoever wrote.
    @Suite("Last error")
    struct LastErrorTests {
        @Test("A process reads why its last write was refused, and nobody else does")
        func own() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 10)
                let control = mount.control("a")
                #expect(throws: Errno.invalidArgument) { try mount.store("bind:9", in: "\(control)/policy") }
                let line = try mount.text(lastError)
                #expect(
                    line == """
                        sys/kernel/cdm/buffers/a/policy "bind:9" EINVAL: nodes that do not exist, or whose memory is not open to \
                        policies: 9.

                        """)
                #expect(try run(["cat", "\(mount.path)/\(lastError)"]).output == "")
                // A shell's own redirections are one process; what it becomes by exec(3) is that process still.
                let script = "echo x >\(control)/pinned; exec cat \(lastError)"
                let outcome = try run(["sh", "-c", "cd \(mount.path); \(script)"])
                #expect(
                    outcome.output == "sys/kernel/cdm/buffers/a/pinned \"x\" EINVAL: \"x\" is not one of 0, 1.\n")
                // A write that succeeds leaves it, and so does another process.
                try mount.store("default", in: "\(control)/policy")
                #expect(try mount.text(lastError) == line)

                #expect(throws: Errno.permissionDenied) {
                    try FileDescriptor.open(FilePath("\(mount.path)/\(control)/size"), .writeOnly)
                }
                #expect(
                    try mount.text(lastError) == "sys/kernel/cdm/buffers/a/size EACCES: the file cannot be written.\n")

                let value = Array("nowhere".utf8)
                #expect(unsafe setxattr(file, "user.cdm.policy", value, value.count, 0) == -1 && errno == EINVAL)
                #expect(try mount.text(lastError).hasPrefix("buffers/a user.cdm.policy \"nowhere\" EINVAL: "))

                // Of a job, and of another thread of the process.
                try Client.pattern("write", file, 0, "64K", 1)
                try mount.store("1", in: "\(control)/pinned")
                let ended = DispatchSemaphore(value: 0)
                Thread { [path = mount.path] in
                    try? Data("1".utf8).write(to: URL(fileURLWithPath: "\(path)/\(control)/migrate"), options: [])
                    ended.signal()
                }.start()
                ended.wait()
                #expect(
                    try mount.text(lastError)
                        == "\(control)/migrate \"1\" EBUSY: pages are pinned; the others have moved.\n")
            }
        }

        private func expectFailure(_ command: [String], status: Int32 = 1) throws {
            let outcome = try run(command)
            #expect(outcome.ending == .exited(status), "\(command)")
            #expect(outcome.output == "" && outcome.errors.split(separator: "\n").count == 1, "\(outcome)")
        }

        @Test("`cdmfs set` writes, and says why it cannot")
        func set() throws {
            try TestMount.with { mount in
                _ = try mount.makeBuffer("a", size: 64 << 10)
                let policy = "\(mount.path)/\(mount.control("a"))/policy"
                let done = try run([Host.cdmfs, "set", policy, "bind:1"])
                #expect(done.succeeded && done.output == "" && done.errors == "")
                #expect(try mount.word(mount.control("a") + "/policy") == "bind:1")
                #expect(try run([Host.cdmfs, "set", policy, "0", "4096", "bind:0"]).succeeded)
                #expect(try mount.text(mount.control("a") + "/policy").contains("0x0 0x1000 bind:0"))

                let refused = try run([Host.cdmfs, "set", policy, "bind:9"])
                #expect(refused.ending == .exited(1))
                #expect(
                    refused.errors == """
                        cdmfs: set: sys/kernel/cdm/buffers/a/policy "bind:9" EINVAL: nodes that do not exist, or whose memory is not \
                        open to policies: 9.

                        """)
                let tasks = "\(mount.path)/sys/devices/system/node/node1/cdm/tasks"
                let absent = try run([Host.cdmfs, "set", tasks, "-1"])
                #expect(
                    absent.ending == .exited(1) && absent.errors.contains("EINVAL: the process is not in the list."),
                    "\(absent)"
                )

                for file in ["\(mount.path)/buffers/a", "\(mount.path)/dev/cdm0", "/proc/self/comm", "/"] {
                    try expectFailure([Host.cdmfs, "set", file, "1"], status: 64)
                }
                try expectFailure([Host.cdmfs, "set", policy], status: 64)
                try expectFailure([Host.cdmfs, "set", policy + "x", "1"])
                try expectFailure([Host.cdmfs, "set", "\(mount.path)/sys/kernel/cdm/pid", "1"])
                try expectFailure([Host.cdmfs, "set", "\(mount.path)/sys/kernel/cdm", "1"])
            }
        }
    }
}
