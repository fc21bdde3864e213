import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Memory of programs under `cdmfs run`; Tests/Clients/anonymous.c has them.
    @Suite("Memory of programs", .enabled(if: Host.isRoot && Host.watchesAddressSpaces))
    struct ProgramMemoryTests {
        func command(_ mount: TestMount, _ arguments: Any..., numactl: [String] = []) throws -> [String] {
            try command(mount, arguments: arguments, numactl: numactl)
        }

        func command(_ mount: TestMount, arguments: [Any], numactl: [String]) throws -> [String] {
            let policy = numactl.isEmpty ? [] : ["numactl"] + numactl
            return [Host.cdmfs, "run", "--mount", mount.path, "--"] + policy + (try Client.anonymous.command(arguments))
        }

        /// What is shared is treated as what is a program's own.
        enum Kind: String, CaseIterable {
            case own, shared

            /// What the client takes for it.
            var flags: [String] { self == .own ? [] : ["-s"] }
            /// The figure of meminfo that it counts in.
            var figure: String { self == .own ? "AnonPages" : "Shmem" }
        }

        func command(
            _ kind: Kind, _ mount: TestMount, _ arguments: Any..., numactl: [String] = []
        ) throws -> [String] {
            try command(mount, arguments: kind.flags + arguments, numactl: numactl)
        }

        func expect(_ outcome: Outcome, _ output: String = "ok\n") {
            #expect(outcome.ending == .exited(0), "\(outcome.errors)")
            #expect(outcome.output == output)
            #expect(outcome.errors == "")
        }

        /// The frames of all programs, once they have ended.
        func expectNothingLeft(of mount: TestMount) throws {
            let isFree = try eventually {
                try (0...1).allSatisfy { try mount.meminfo($0)["AnonPages"] == 0 && mount.meminfo($0)["Shmem"] == 0 }
            }
            let left = try (0...1).map { try (mount.meminfo($0)["AnonPages"], mount.meminfo($0)["Shmem"]) }
            #expect(isFree, "\(left) kB are left")
            // Agents have the environments of their programs.
            let mark = "CDMFS_MOUNTPOINT=\(mount.path)"
            let isQuiet = try eventually { try processes(with: mark).isEmpty }
            let others = try processes(with: mark)
            #expect(isQuiet, "\(others)")
        }

        private func processes(with mark: String) throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: "/proc").filter { name in
                guard Int(name) != nil, let file = FileManager.default.contents(atPath: "/proc/\(name)/environ") else {
                    return false
                }
                return String(decoding: file, as: UTF8.self).split(separator: "\0").contains { $0 == mark }
            }
        }

        @Test("Each page that a bound program touches is on its node, also behind fork and exec; figures agree")
        func placement() throws {
            try TestMount.with { mount in
                expect(try run(command(mount, "place", 1, "64M", numactl: ["--membind=1"])))
                expect(try run(command(mount, "place", 0, "64M")))
                expect(try run(command(mount, "exec", 1, "16M", numactl: ["--membind=1"])))
                try expectNothingLeft(of: mount)
                let sum = try run(command(mount, "sum"))
                let mapped = try #require(sum["maps"], "\(sum.errors)")
                #expect(mapped >= 2048)
                #expect(sum["maps"] == sum["figures"])
                try expectNothingLeft(of: mount)
            }
        }

        @Test("Policies, moves, mremap, madvise, munmap, brk, fork and vfork act on it")
        func calls() throws {
            try TestMount.with { mount in
                expect(try run(command(mount, "calls")))
                expect(try run(command(mount, "special")))
                try expectNothingLeft(of: mount)
            }
        }

        @Test("Memory that programs only load from has no frames, and a store takes one by the policy of its time")
        func zeros() throws {
            try TestMount.with { mount in
                expect(try run(command(mount, "zeros")))
                expect(try run(command(mount, "races", 4), within: 60))
                try expectNothingLeft(of: mount)
            }
            try TestMount.with(options: ["fault_around=4K"]) { mount in
                expect(try run(command(mount, "zeros")))
                try expectNothingLeft(of: mount)
            }
        }

        /// The status of each agent of a mount.
        private func agents(of mount: TestMount) throws -> [String] {
            try processes(with: "CDMFS_MOUNTPOINT=\(mount.path)").compactMap { id in
                let status = FileManager.default.contents(atPath: "/proc/\(id)/status") ?? Data()
                let text = String(decoding: status, as: UTF8.self)
                return text.hasPrefix("Name:\tcdmfs-agent\n") ? text : nil
            }
        }

        @Test("An agent has no rights, and its program leaves a core dump")
        func rights() throws {
            try TestMount.with { mount in
                let program = try Child(command(mount, "hold", "1M"))
                #expect(try program.line() == "ok")
                let found = try agents(of: mount)
                #expect(!found.isEmpty)
                for status in found {
                    // CAP_IPC_LOCK, or nothing.
                    #expect(status.contains("\nCapPrm:\t0000000000004000\n"), "\(status)")
                    #expect(status.contains("\nNoNewPrivs:\t1\nSeccomp:\t2\n"), "\(status)")
                }
                program.kill(SIGTERM)
                _ = try program.finish(within: 20)
                let isDumpable = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
                let dump = try run([Host.cdmfs, "run", "--mount", mount.path, "--", "python3", "-c", isDumpable])
                #expect(dump.output == "1\n", "\(dump.errors)")
                try expectNothingLeft(of: mount)
            }
        }

        @Test("Memory of another user's program is the machine's where the host gives users a userfaultfd")
        func users() throws {
            let setting = "/proc/sys/vm/unprivileged_userfaultfd"
            let before = try procfs("sys/vm/unprivileged_userfaultfd")
            defer { try? before.write(toFile: setting, atomically: false, encoding: .utf8) }
            try TestMount.with { mount in
                func command(_ arguments: Any..., numactl: [String] = []) throws -> [String] {
                    [Host.cdmfs, "run", "--mount", mount.path, "--"]
                        + ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"] + numactl
                        + (try Client.anonymous.command(arguments))
                }
                try "0".write(toFile: setting, atomically: false, encoding: .utf8)
                let refused = try Child(command("hold", "1M"))
                #expect(try refused.line() == "ok")
                // That of setpriv ends with it.
                #expect(try eventually { try agents(of: mount).isEmpty })
                refused.kill(SIGTERM)
                let line = "memory of programs of other users than root is the host's: vm.unprivileged_userfaultfd is 0"
                #expect(try refused.finish(within: 20).errors == "cdmfs: run: \(line)\n")

                try "1".write(toFile: setting, atomically: false, encoding: .utf8)
                expect(try run(command("place", 1, "16M", numactl: ["numactl", "--membind=1"])))
                expect(try run(command("exec", 1, "16M", numactl: ["numactl", "--membind=1"])))
                expect(try run(command("storm", 4, 2), within: 60), "begin\nok\n")
                let served = try Child(command("hold", "1M"))
                #expect(try served.line() == "ok")
                let found = try agents(of: mount).filter { $0.contains("\nUid:\t1234\t1234\t1234\t1234\n") }
                #expect(found.count == 1 && found[0].contains("\nCapPrm:\t0000000000000000\n"), "\(found)")
                served.kill(SIGTERM)
                _ = try served.finish(within: 20)
                try expectNothingLeft(of: mount)
            }
        }

        @Test("Random programs of several threads: after each step each page is where a model has it", arguments: 1...4)
        func model(seed: Int) throws {
            try TestMount.with(options: ["fault_around=4K"]) { mount in
                let words = try Client.model.command([seed, 400, seed])
                expect(try run([Host.cdmfs, "run", "--mount", mount.path, "--"] + words, within: 60))
                try expectNothingLeft(of: mount)
            }
        }

        @Test("Threads that map, move, fork and store at once find their bytes", arguments: Kind.allCases)
        func storm(_ kind: Kind) throws {
            try TestMount.with { mount in
                expect(try run(command(kind, mount, "storm", 6, 5), within: 120), "begin\nok\n")
                try expectNothingLeft(of: mount)
            }
        }

        @Test("The same while their memory is reclaimed and balanced", arguments: Kind.allCases)
        func stormUnderPressure(_ kind: Kind) throws {
            try TestMount.with(Machines.make(isolation: "none"), options: ["numa_balancing=3"]) { mount in
                try mount.store("1", in: "sys/kernel/mm/numa/demotion_enabled")
                try mount.store("20", in: "sys/kernel/cdm/numa_balancing_scan_period_ms")
                let program = try Child(command(kind, mount, "storm", 4, 4))
                #expect(try program.line() == "begin")
                while kill(program.pid, 0) == 0 {
                    _ = try? mount.store("4M", in: "sys/devices/system/node/node0/reclaim")
                }
                let outcome = try program.finish(within: 60)
                #expect(outcome.output == "ok\n" && outcome.ending == .exited(0), "\(outcome.output) \(outcome.errors)")
                #expect(try mount.vmstat(0)["pgdemote_proactive", default: 0] > 0)
                try expectNothingLeft(of: mount)
            }
        }

        @Test("A program that asks for more than its nodes have is killed, as Linux does it, and others are not")
        func exhaustion() throws {
            try TestMount.with(Machines.make(device: "64M")) { mount in
                let other = try Child(command(mount, "hold", "32M"))
                #expect(try other.line() == "ok")
                let greedy = try run(command(mount, "touch", "128M", numactl: ["--membind=1"]))
                #expect(greedy.ending == .killed(SIGKILL), "\(greedy.output) \(greedy.errors)")
                // A preference is no demand.
                expect(try run(command(mount, "touch", "128M", numactl: ["--preferred=1"])))
                other.kill(SIGTERM)
                #expect(try other.finish().output == "end\n")
                try expectNothingLeft(of: mount)
            }
        }

        @Test("Isolation refuses as it does for buffers")
        func isolation() throws {
            try TestMount.with(Machines.make(ram: "64M", isolation: "exclusive")) { mount in
                // Not in the fallback list of node 0.
                let greedy = try run(command(mount, "touch", "128M"))
                #expect(greedy.ending == .killed(SIGKILL), "\(greedy.output) \(greedy.errors)")
                #expect(try mount.meminfo(1)["AnonPages"] == 0)
                let refused = try mount.values("sys/devices/system/node/node1/cdm/refused")
                #expect(refused["fallback", default: 0] > 0)
                try expectNothingLeft(of: mount)
                try mount.store("restricted", in: "sys/devices/system/node/node1/cdm/isolation")
                let restricted = try run(command(mount, "touch", "1M", numactl: ["--membind=1"]))
                #expect(!restricted.succeeded)
                try mount.store("none", in: "sys/devices/system/node/node1/cdm/isolation")
                let program = try Child(command(mount, "refused"))
                #expect(try program.line() == "begin")
                try mount.store("restricted", in: "sys/devices/system/node/node1/cdm/isolation")
                program.kill(SIGTERM)
                expect(try program.finish(), "ok\n")
            }
        }

        @Test("A node gives up the memory of programs that run, and their bytes stay")
        func migration() throws {
            try TestMount.with { mount in
                let program = try Child(command(mount, "hold", "48M", numactl: ["--membind=1"]))
                #expect(try program.line() == "ok")
                let before = try #require(try mount.meminfo(1)["AnonPages"])
                #expect(before >= 48 << 10)
                try mount.store("0", in: "sys/devices/system/node/node1/cdm/migrate")
                #expect(try mount.meminfo(1)["AnonPages"] == 0)
                try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                try mount.store("online", in: "sys/class/cdm/cdm0/state")
                program.kill(SIGTERM)
                #expect(try program.finish().output == "end\n")
                try expectNothingLeft(of: mount)
            }
        }

        @Test(
            "A page that failed is SIGBUS at its address until it is not needed, for all who map it; others keep their bytes",
            arguments: Kind.allCases)
        func failures(_ kind: Kind) throws {
            // Frames that failed are free no more.
            try TestMount.with(checkingLeaks: false) { mount in
                let program = try Child(command(kind, mount, "fail", "1M"))
                #expect(try program.line() == "ok")
                #expect(try mount.meminfo(1)[kind.figure] == 1024)
                for page in 0..<64 {
                    try mount.store("\(page * 8 << 12)", in: "sys/kernel/debug/cdm/cdm0/inject_poison")
                }
                let lost = try (1024 - #require(try mount.meminfo(1)[kind.figure])) / 4
                #expect(lost > 8)
                program.kill(SIGTERM)
                let outcome = try program.finish()
                #expect(outcome.ending == .exited(0), "\(outcome.errors)")
                #expect(outcome["bus"] == lost)
                #expect(outcome["action"] == lost)
                try expectNothingLeft(of: mount)
            }
        }

        @Test(
            "MADV_HWPOISON and MADV_SOFT_OFFLINE act on its pages; a failed page is BUS_MCEERR_AR at each touch",
            arguments: Kind.allCases)
        func injection(_ kind: Kind) throws {
            try TestMount.with(checkingLeaks: false) { mount in
                expect(try run(command(kind, mount, "inject")))
                #expect(try mount.word("sys/devices/system/node/node0/memory_failure/total") == "2")
                try expectNothingLeft(of: mount)
            }
        }

        @Test("Locked memory is unevictable and is not reclaimed, and moves all the same", arguments: Kind.allCases)
        func locks(_ kind: Kind) throws {
            try TestMount.with(Machines.make(isolation: "none")) { mount in
                try mount.store("1", in: "sys/kernel/mm/numa/demotion_enabled")
                let program = try Child(command(kind, mount, "lock", "16M"))
                #expect(try program.line() == "ok")
                // And a mapping of 128 KiB, of which only shared memory has frames, for no program can store to it.
                let locked = kind == .own ? 16 << 10 : 16 << 10 | 128
                #expect(try mount.meminfo(0)["Mlocked"] == locked)
                #expect(try mount.meminfo(0)["Unevictable"] == locked)
                #expect(try mount.vmstat(0)["nr_mlock"] == locked / 4)
                // Everything else goes.
                _ = try? mount.store("64M", in: "sys/devices/system/node/node0/reclaim")
                #expect(try mount.meminfo(0)["Mlocked"] == locked)
                try mount.store("\(program.pid) 0 1", in: "sys/kernel/cdm/migrate_pages")
                #expect(try mount.meminfo(0)["Mlocked"] == 0)
                #expect(try mount.meminfo(1)["Mlocked"] == locked)
                try mount.store("\(program.pid) 1 0", in: "sys/kernel/cdm/migrate_pages")
                program.kill(SIGTERM)
                #expect(try program.line() == "ok")
                #expect(try mount.meminfo(0)["Mlocked"] == 0)
                #expect(try mount.meminfo(1)["Mlocked"] == 0)
                _ = try? mount.store("64M", in: "sys/devices/system/node/node0/reclaim")
                #expect(try mount.meminfo(1)[kind.figure, default: 0] > 8 << 10)
                program.kill(SIGKILL)
                _ = try program.finish()
                try expectNothingLeft(of: mount)
            }
        }

        @Test(
            "Memory that no program stores to is demoted, and what one of them stores to is spared",
            arguments: Kind.allCases)
        func demotion(_ kind: Kind) throws {
            // A tenth of a second without the CPU, and a page counts as unused. That may be, but not every time.
            let isHotSpared = try (0..<4).contains { _ in
                var counts: (hot: Int, cold: Int) = (0, 0)
                try TestMount.with(Machines.make(isolation: "none")) { mount in
                    try mount.store("1", in: "sys/kernel/mm/numa/demotion_enabled")
                    let program = try Child(command(kind, mount, "warm", "16M"))
                    if kind == .shared { _ = try program.line() }
                    #expect(try program.line() == "ok")
                    _ = try? mount.store("8M", in: "sys/devices/system/node/node0/reclaim")
                    #expect(try mount.vmstat(0)["pgdemote_proactive", default: 0] > 0)
                    program.kill(SIGTERM)
                    let outcome = try program.finish()
                    #expect(outcome.ending == .exited(0), "\(outcome.errors)")
                    counts = (outcome["hot"] ?? 0, outcome["cold"] ?? 0)
                    try expectNothingLeft(of: mount)
                }
                return counts.hot > 1024 && counts.cold > 1024
            }
            #expect(isHotSpared)
        }

        @Test(
            "Balancing brings what a program stores to where it runs", .enabled(if: Host.has("taskset")),
            arguments: Kind.allCases)
        func balancing(_ kind: Kind) throws {
            try TestMount.with(Machines.four, options: ["numa_balancing=1"]) { mount in
                try mount.store("20", in: "sys/kernel/cdm/numa_balancing_scan_period_ms")
                let program = try Child(["taskset", "-c", "0"] + command(kind, mount, "warm", "8M"))
                var storing = program.pid
                if kind == .shared {
                    let line = try program.line()
                    storing = try #require(pid_t(line.split(separator: "=").last ?? ""), "\(line)")
                }
                #expect(try program.line() == "ok")
                let placement = "sys/kernel/cdm/tasks/\(program.pid)/placement"
                #expect(try !mount.text(placement).contains("N1="))
                #expect(try run(["taskset", "-pc", "1", "\(storing)"]).succeeded)
                let isMoved = try eventually {
                    let pages = try mount.word(placement).split(separator: " ").first { $0.hasPrefix("N1=") }
                    return pages.flatMap { Int($0.dropFirst(3)) } ?? 0 >= 1000
                }
                let last = try mount.text(placement)
                #expect(isMoved, "\(last)")
                program.kill(SIGTERM)
                let outcome = try program.finish()
                #expect(outcome.ending == .exited(0), "\(outcome.errors)")
                // Half of it is not stored to.
                #expect(outcome["cold"] == 0)
                try expectNothingLeft(of: mount)
            }
        }

        @Test("Figures of tasks: by the reader's numbers, for who may look into the process")
        func tasks() throws {
            try TestMount.with { mount in
                let program = try Child(command(mount, "forks", "8M"))
                let line = try program.line()
                let child = try #require(Int(line.split(separator: "=").last ?? ""), "\(line)")
                let tasks = mount.path + "/sys/kernel/cdm/tasks"
                let parent = try #require(
                    Int(
                        String(
                            decoding: FileManager.default.contents(atPath: "/proc/\(child)/stat") ?? Data(),
                            as: UTF8.self
                        )
                        .split(separator: " ")[3]))
                let listed = try FileManager.default.contentsOfDirectory(atPath: tasks)
                #expect(listed.contains("\(parent)") && listed.contains("\(child)"), "\(listed)")
                let folder = "sys/kernel/cdm/tasks/\(parent)"
                let placement = try mount.text("\(folder)/placement")
                #expect(placement.hasSuffix("N1=2048\n"), "\(placement)")
                let resident = try #require(Int(try mount.word("\(folder)/resident")))
                #expect(resident >= 8 << 20)
                for process in [parent, child] {
                    let policies = try mount.text("sys/kernel/cdm/tasks/\(process)/policy").split(separator: "\n")
                    #expect(policies.first == "default")
                    #expect(policies.dropFirst().contains { $0.hasSuffix(" 0x800000 bind:1") }, "\(policies)")
                }
                let other = try run(["setpriv", "--reuid=1234", "--clear-groups", "cat", "\(tasks)/\(child)/placement"])
                #expect(other.errors.contains("Permission denied"), "\(other.output) \(other.errors)")
                // Numbers of another namespace are others.
                let inner =
                    "ls \(tasks); sleep 5 < \(mount.path)/buffers & ls \(tasks)/$!; test -e \(tasks)/\(child) || echo none"
                let namespace = try run(["unshare", "-pf", "sh", "-c", inner])
                #expect(
                    namespace.output == "placement\npolicy\nresident\nnone\n", "\(namespace.output) \(namespace.errors)"
                )
                program.kill(SIGTERM)
                _ = try program.finish()
                #expect(!FileManager.default.fileExists(atPath: "\(tasks)/\(child)"))
                try expectNothingLeft(of: mount)
            }
        }

        @Test("A signal interrupts no call that maps memory, as in Linux")
        func interruptions() throws {
            try TestMount.with { mount in
                expect(try run(command(mount, "interrupted", 3000)))
                try expectNothingLeft(of: mount)
            }
        }

        @Test("Killed programs leave no frame and no agent behind")
        func killing() throws {
            try TestMount.with { mount in
                for round in 0..<12 {
                    let program = try Child(command(mount, "storm", 4, 30, numactl: ["--interleave=all"]))
                    // In the midst of its start, too.
                    if round % 3 > 0 { #expect(try program.line() == "begin") }
                    usleep(UInt32(round * 7919 % 120) * 1000)
                    program.kill(SIGKILL)
                    #expect(try program.finish().ending == .killed(SIGKILL))
                }
                try expectNothingLeft(of: mount)
            }
        }

        @Test(
            "Whoever is killed at a random moment, nothing is left; Tests/Suites/kills does it for as long as one likes"
        )
        func randomKills() throws {
            let script = Host.package.appending("Tests/Suites/kills").string
            let outcome = try run(["sh", script, "3", Host.cdmfs], within: 60)
            #expect(outcome.succeeded, "\(outcome.output) \(outcome.errors)")
        }

        @Test("Programs whose daemon is killed go on with memory of the host")
        func orphans() throws {
            try TestMount.with(endsItself: true) { mount in
                let programs = try (0..<3).map { _ in try Child(command(mount, "storm", 4, 4, "host")) }
                let holder = try Child(command(mount, "hold", "16M"))
                for program in programs { #expect(try program.line() == "begin") }
                #expect(try holder.line() == "ok")
                try mount.killDaemon()
                #expect(try run([Host.cdmfs, "unmount", mount.path]).succeeded)
                for program in programs {
                    let outcome = try program.finish(within: 60)
                    #expect(outcome.ending == .exited(0), "\(outcome.errors)")
                }
                holder.kill(SIGTERM)
                #expect(try holder.finish().output == "end\n")
                let mark = "CDMFS_MOUNTPOINT=\(mount.path)"
                let isQuiet = try eventually { try processes(with: mark).isEmpty }
                #expect(isQuiet)
            }
        }

        @Test("Without memory of programs it is the host's")
        func noMemory() throws {
            try TestMount.with { mount in
                let program = try Child(
                    [Host.cdmfs, "run", "--no-memory", "--mount", mount.path, "--"]
                        + Client.anonymous.command(["hold", "16M"]))
                #expect(try program.line() == "ok")
                #expect(try mount.meminfo(0)["AnonPages"] == 0)
                program.kill(SIGTERM)
                #expect(try program.finish().output == "end\n")
            }
        }

        @Test("Static programs, shells, interpreters and programs of a PID namespace of their own are at home")
        func programs() throws {
            try TestMount.with { mount in
                let shell = "for i in $(seq 20); do x=$(echo $i | cat); done; echo $x"
                let tools = [Host.cdmfs, "run", "--mount", mount.path, "--"]
                #expect(try run(tools + ["sh", "-c", shell]).output == "20\n")
                #expect(try run(tools + ["python3", "-c", "print(sum(range(10 ** 6)))"]).output == "499999500000\n")
                let client = try Client.anonymous.command(["place", 1, "16M"])
                expect(try run(tools + ["numactl", "--membind=1", "unshare", "-pf", "--mount-proc"] + client))
                try expectNothingLeft(of: mount)
            }
        }
    }
}
