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
                let table = try procfs("self/mountinfo")
                #expect(!table.contains("/sys/devices/system/node "))
                let wrong = try run([Host.cdmfs, "run", "--mount", "/", "--", "true"])
                #expect(!wrong.succeeded)
                #expect(wrong.errors.split(separator: "\n").count == 1, "\(wrong.errors)")
            }
        }

        @Test(
            "run without a mount: a machine of the command's own, gone after it; status and signals are the command's")
        func ownMachine() throws {
            #expect(try run([Host.cdmfs, "run", "cat", "/sys/devices/system/node/online"]).output == "0-1\n")
            let preset = try run([
                Host.cdmfs, "run", "--preset", "two-socket", "--", "cat", "/sys/devices/system/node/has_memory",
            ])
            #expect(preset.output == "0-3\n", "\(preset.errors)")
            #expect(try run([Host.cdmfs, "run", "--", "sh", "-c", "exit 7"]).ending == .exited(7))
            #expect(try run([Host.cdmfs, "run", "--", "sh", "-c", "kill -TERM $$"]).ending == .killed(SIGTERM))
            #expect(try run([Host.cdmfs, "run", "--", "no-such-command"]).ending == .exited(127))
            let script = "echo $CDMFS_MOUNTPOINT; cat $CDMFS_MOUNTPOINT/sys/kernel/cdm/pid; ls $CDMFS_MOUNTPOINT"
            let words = try run([Host.cdmfs, "run", "--", "sh", "-c", script]).output.split(separator: "\n")
            try #require(words.count == 5, "\(words)")
            #expect(words[2...] == ["buffers", "dev", "sys"])
            #expect(!FileManager.default.fileExists(atPath: String(words[0])))
            #expect(!FileManager.default.fileExists(atPath: "/proc/\(words[1])"))
            for wrong in [
                ["--preset", "none"], ["--topology", "/no/such/file"], ["--preset", "large", "--mount", "/"],
                ["--nonsense"],
            ] {
                let outcome = try run([Host.cdmfs, "run"] + wrong + ["--", "true"])
                #expect(!outcome.succeeded)
                #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
            }
        }

        @Test("run --keep leaves the machine on a directory")
        func keeping() throws {
            let directory = "/tmp/cdmfs-keep-\(getpid())"
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let first = try run([
                Host.cdmfs, "run", "--keep", directory, "--", "sh", "-c",
                "truncate -s 4096 $CDMFS_MOUNTPOINT/buffers/a",
            ])
            #expect(first.succeeded, "\(first.errors)")
            #expect(FileManager.default.fileExists(atPath: directory + "/buffers/a"))
            #expect(try run([Host.cdmfs, "unmount", directory]).succeeded)
        }

        @Test("A machine of a command's own ends with its last process, and with a killed run")
        func lifetime() throws {
            // A process that the command leaves behind keeps the machine, which answers it.
            let script =
                "cat $CDMFS_MOUNTPOINT/sys/kernel/cdm/pid; (read line; cat /sys/devices/system/node/online >&3) <&4 3>$1 &"
            let folder = try #require(try run(["mktemp", "-d"]).output.split(separator: "\n").first.map(String.init))
            defer { try? FileManager.default.removeItem(atPath: folder) }
            #expect(try run(["mkfifo", folder + "/go"]).succeeded)
            let outcome = try run([
                "bash", "-c", "exec 4<>\(folder)/go; exec \(Host.cdmfs) run -- bash -c '\(script)' x \(folder)/answer",
            ])
            let daemon = outcome.output.split(separator: "\n").first ?? ""
            #expect(FileManager.default.fileExists(atPath: "/proc/\(daemon)"), "\(outcome.errors)")
            #expect(try run(["sh", "-c", "echo > \(folder)/go"]).succeeded)
            #expect(eventually { !FileManager.default.fileExists(atPath: "/proc/\(daemon)") })
            #expect(try String(contentsOfFile: folder + "/answer", encoding: .utf8) == "0-1\n")

            // A command that would run for ever.
            let killed = try Child([
                Host.cdmfs, "run", "--", "sh", "-c", "cat $CDMFS_MOUNTPOINT/sys/kernel/cdm/pid; exec sleep 1000",
            ])
            let server = try killed.line()
            kill(killed.pid, SIGKILL)
            #expect(eventually { !FileManager.default.fileExists(atPath: "/proc/\(server)") })
        }

        @Test("A machine of CPUs that the host has not shows them where they are")
        func processors() throws {
            try TestMount.with(Machines.manyCPUs) { mount in
                #expect(try tool(mount, "cat", "/sys/devices/system/cpu/online").output == "0-143\n")
                let links = try tool(mount, "sh", "-c", "cd /sys/devices/system/cpu; echo cpu71/node* cpu72/node*")
                #expect(links.output == "cpu71/node0 cpu72/node1\n")
                let siblings = "/sys/devices/system/cpu/cpu80/topology/core_siblings_list"
                #expect(try tool(mount, "cat", siblings).output == "72-143\n")
                let text = try tool(mount, "lscpu").output
                #expect(text.contains(/NUMA node1 CPU\(s\): +72-143/), "\(text)")
                #expect(text.contains(/Socket\(s\): +2/), "\(text)")
                let objects = try tool(mount, "hwloc-calc", "-N", "pu", "all")
                #expect(objects.output == "144\n", "\(objects.errors)")
            }
        }

        @Test("What a tool sees in a run is the simulated machine, and what it writes stays there")
        func view() throws {
            try TestMount.with { mount in
                let nodes = try tool(mount, "sh", "-c", "cd /sys/bus/node/devices; for i in *; do readlink -e $i; done")
                #expect(nodes.output == "/sys/devices/system/node/node0\n/sys/devices/system/node/node1\n")
                let memory = try tool(
                    mount, "sh", "-c", "cd /sys/bus/memory/devices; for i in *; do [ -e $i ] || echo $i; done")
                #expect(memory.output == "")
                let total = try tool(mount, "grep", "MemTotal", "/proc/meminfo").output.split(separator: " ")
                    .dropFirst().first
                let sum = try tool(
                    mount, "cat", "/sys/devices/system/node/node0/meminfo", "/sys/devices/system/node/node1/meminfo"
                )
                .output.split(separator: "\n").filter { $0.contains("MemTotal") }
                .compactMap { Int($0.split(separator: " ")[3]) }.reduce(0, +)
                #expect(total.flatMap { Int($0) } == sum)
                #expect(try tool(mount, "grep", "-c", "zone", "/proc/buddyinfo").output == "2\n")
                #expect(try tool(mount, "free", "-k").output.contains(" \(sum) "))
                let switches = "/sys/kernel/mm/numa/demotion_enabled"
                let before = try String(contentsOfFile: switches, encoding: .utf8)
                #expect(try tool(mount, "sh", "-c", "echo 1 > \(switches); cat \(switches)").output == "true\n")
                #expect(try String(contentsOfFile: switches, encoding: .utf8) == before)
                let types = try tool(mount, "awk", "/type +Movable/ {print $2 $4}", "/proc/pagetypeinfo").output
                #expect(types == "0,Normal,\n1,Movable,\n")
                let balancing = "/proc/sys/kernel/numa_balancing"
                let mode = try String(contentsOfFile: balancing, encoding: .utf8)
                #expect(try tool(mount, "sh", "-c", "echo 3 > \(balancing); cat \(balancing)").output == "3\n")
                #expect(try String(contentsOfFile: balancing, encoding: .utf8) == mode)
                #expect(try mount.text("sys/kernel/cdm/numa_balancing") == "3\n")
                try mount.store("0", in: "sys/kernel/cdm/numa_balancing")
                let pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
                #expect(try tool(mount, "sh", "-c", "echo 3 > \(pool); cat \(pool)").output == "3\n")
                #expect(
                    try mount.text("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages") == "3\n")
                try mount.store("0", in: "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
            }
        }
    }
}
