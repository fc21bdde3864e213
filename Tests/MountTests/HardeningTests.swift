import CLinux
import Foundation
import SystemPackage
import Testing

@testable import cdmfs

extension Mounts {
    /// What root's daemon has given up.
    @Suite("Hardening")
    struct HardeningTests {
        private func status(_ task: String) throws -> [String: String] {
            let lines = try procfs("\(task)/status").split(separator: "\n").map {
                $0.split(separator: "\t", maxSplits: 1)
            }
            return Dictionary(lines.map { (String($0[0].dropLast()), $0.count > 1 ? String($0[1]) : "") }) { first, _ in
                first
            }
        }

        @Test("Every thread has the capabilities of the table and no others, and gets no new ones")
        func capabilities() throws {
            try TestMount.with { mount in
                let daemon = try #require(mount.daemons().first)
                let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon)/task")
                #expect(tasks.count > 3)
                let own = try #require(try UInt64(status("self")["CapPrm"] ?? "", radix: 16))
                for task in tasks {
                    let status = try status("\(daemon)/task/\(task)")
                    for set in ["CapPrm", "CapEff"] {
                        #expect(try UInt64(#require(status[set]), radix: 16) == KeptCapability.mask & own, "\(set)")
                    }
                    #expect(try UInt64(#require(status["CapBnd"]), radix: 16)! & ~KeptCapability.mask == 0)
                    for set in ["CapInh", "CapAmb"] {
                        #expect(try UInt64(#require(status[set]), radix: 16) == 0, "\(set)")
                    }
                    #expect(status["NoNewPrivs"] == "1")
                    #expect(status["Seccomp"] == (mount.isSanitized ? "0" : "2"))
                }
            }
        }

        @Test("The environment is gone", arguments: [false, true])
        func environment(isForeground: Bool) throws {
            try TestMount.unmounted { mount in
                let secret = ["CDMFS_TEST_SECRET": "a word that must not stay"].merging(mount.environment) { $1 }
                let command = mount.command(flags: isForeground ? ["--foreground", "--log", "/dev/null"] : [])
                let child = try Child(command, environment: secret)
                try #require(eventually { unsafe access(mount.path + "/sys/kernel/cdm/pid", F_OK) == 0 })
                let daemon = try #require(mount.daemons().first)
                #expect(eventually { (try? procfs("\(daemon)/environ").contains("=")) == false })
                #expect(try run([Host.cdmfs, "unmount", mount.path]).succeeded)
                _ = try child.finish()
            }
        }

        @Test("It is told as started once the mount answers, to a service manager that asks for it")
        func notification() throws {
            try TestMount.unmounted { mount in
                let script = """
                    import os, socket, subprocess, sys
                    path = '\(mount.topologyFile).socket'
                    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    manager.bind(path)
                    manager.settimeout(30)
                    daemon = subprocess.Popen(sys.argv[1:], env=dict(os.environ, NOTIFY_SOCKET=path))
                    first = manager.recv(4096).decode()
                    print(os.path.exists('\(mount.path)/sys/kernel/cdm/pid'), first.split('\\n')[0], flush=True)
                    daemon.terminate()
                    print(manager.recv(4096).decode(), daemon.wait(timeout=30))
                    """
                let flags = ["--foreground", "--log", "/dev/null"]
                let outcome = try run(
                    ["python3", "-c", script] + mount.command(flags: flags), within: 90, environment: mount.environment)
                #expect(outcome.output == "True READY=1\nSTOPPING=1 0\n", "\(outcome.errors)")
            }
        }

        @Test("oom_score_adj is what the option says")
        func oomScore() throws {
            try TestMount.with(options: ["oom_score_adj=123"]) { mount in
                let daemon = try #require(mount.daemons().first)
                #expect(try procfs("\(daemon)/oom_score_adj") == "123\n")
            }
        }

        @Test("A log line has no control bytes, whatever a name has")
        func log() throws {
            let folder = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let name = "a\u{1b}[31m\u{1}\u{7f}\u{9b}\u{202e}b"
            try FileManager.default.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: false)
            let log = folder + "/log"
            let mounted = try run([Host.cdmfs, "mount", "--log", log, "\(folder)/\(name)"])
            #expect(mounted.succeeded, "\(mounted.errors)")
            #expect(try run([Host.cdmfs, "unmount", "\(folder)/\(name)"]).succeeded)
            let text = try String(contentsOfFile: log, encoding: .utf8)
            #expect(text.contains("serving \(folder)/a\\u{1B}[31m\\u{01}\\u{7F}\\u{009B}\\u{202E}b\n"), "\(text)")
            let unseen = text.unicodeScalars.filter {
                $0 != "\n" && [.control, .format].contains($0.properties.generalCategory)
            }
            #expect(unseen.isEmpty)
            // And no line of an error.
            let refused = try run([Host.cdmfs, "mount", "\(folder)/\u{1b}[31mno"])
            #expect(refused.errors == "cdmfs: mount: \(folder)/\\u{1B}[31mno: No such file or directory\n")
        }

        @Test(
            "Every system call that a mount at work makes is in the table",
            .enabled(if: Host.has("strace"), "strace is installed"))
        func calls() throws {
            try TestMount.unmounted { mount in
                guard !mount.isSanitized else { return }
                let trace = mount.topologyFile + ".calls"
                let traced = ["strace", "-D", "-f", "-qq", "-c", "-U", "name", "-o", trace]
                let mounted = try run(
                    traced + mount.command(options: ["numa_balancing=3"]), environment: mount.environment)
                try #require(mounted.succeeded, "\(mounted.errors)")
                try work(mount)
                #expect(try run([Host.cdmfs, "unmount", mount.path]).succeeded)
                #expect(eventually { unsafe access(trace, F_OK) == 0 })
                let text = try String(contentsOfFile: trace, encoding: .utf8)
                let made = CallTrace.calls(in: text)
                let known = Set(CallFilter.allowed.flatMap(\.value) + CallFilter.conditions.map(\.call))
                #expect(made.count > 30)
                #expect(made.subtracting(known).subtracting(Self.ofStarting) == [])
                #expect(known.isDisjoint(with: CallFilter.fatal))
            }
        }

        @Test(
            "Every system call that the suites' daemons were traced to make is in the table",
            .enabled(if: CallTrace.record != nil, "mount-scripts/trace-calls makes the record"))
        func record() throws {
            let known = Set(CallFilter.allowed.flatMap(\.value) + CallFilter.conditions.map(\.call))
            // Refused, and glibc takes another.
            #expect(try #require(CallTrace.record).subtracting(known).subtracting(["clone3"]) == [])
        }

        /// What is called before the filter is in force, or is refused with good reason.
        private static let ofStarting: Set = [
            "execve", "mount", "setsid", "capset", "seccomp", "clone3", "vfork", "syscall", "total", "calls",
        ]

        private func work(_ mount: TestMount) throws {
            let file = try mount.makeBuffer("a", size: 8 << 20, policy: "bind:1")
            try Client.pattern("store", file, 0, "8M", 1)
            for node in ["0", "1"] { try mount.store(node, in: mount.control("a") + "/migrate") }
            try Client.pattern("verify", file, 0, "8M", 1)
            try mount.hollow("buffers/a")
            try? mount.store("direct", in: mount.control("a") + "/mapping")
            try Client.pattern("write", file, 0, "1M", 2)
            _ = try mount.text("sys/devices/system/node/node1/cdm/blockers")
            try mount.store("\(getpid()) bind:1", in: "sys/kernel/cdm/task_policy")
            try mount.store("fill a 0 4096 65", in: "sys/class/cdm/cdm0/queue/submit")
            try FileManager.default.removeItem(atPath: file)
            try mount.store("force", in: "sys/class/cdm/cdm0/remove")
            try mount.store("1", in: "sys/class/cdm/rescan")
        }

        @Test(
            "The unit is one that systemd takes, and rates as safe enough",
            .enabled(if: Host.has("systemd-analyze"), "systemd is installed"))
        func unit() throws {
            let folder = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let source = Host.package.appending("mount-scripts/cdmfs@.service").string
            // Where the command is, only its user knows.
            let text = try String(contentsOfFile: source, encoding: .utf8)
                .replacingOccurrences(of: "=cdmfs ", with: "=\(Host.cdmfs) ")
                .replacingOccurrences(of: "=-cdmfs ", with: "=-\(Host.cdmfs) ")
            let unit = folder + "/cdmfs@mnt-cdm.service"
            try text.write(toFile: unit, atomically: false, encoding: .utf8)
            let verified = try run(["systemd-analyze", "verify", "--man=no", unit])
            #expect(verified.succeeded && !verified.errors.contains(unit), "\(verified.errors)")
            // OK is below 5.0.
            let rated = try run(["systemd-analyze", "security", "--offline=true", "--threshold=49", unit])
            #expect(rated.succeeded, "\(rated.output.suffix(200)) \(rated.errors)")
            for option in KeptCapability.all.map(\.name) {
                #expect(text.contains(option), "the unit lets the daemon have \(option)")
            }
        }
    }
}
