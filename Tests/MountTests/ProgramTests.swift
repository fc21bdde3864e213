import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Programs under `cdmfs run`, whose calls act on the machine; Tests/Clients/policies.c makes them.
    @Suite("Programs", .enabled(if: Host.isRoot))
    struct ProgramTests {
        private func tool(_ mount: TestMount, _ command: [String], within seconds: Double = 60) throws -> Outcome {
            try run([Host.cdmfs, "run", "--mount", mount.path, "--"] + command, within: seconds)
        }

        @Test(
            "mbind, get_mempolicy, move_pages and migrate_pages act on a mapped buffer; fork and exec hand policies down"
        )
        func calls() throws {
            try TestMount.with { mount in
                let outcome = try tool(mount, Client.policies.command(["calls", mount.path + "/buffers/a"]))
                #expect(outcome.output == "ok\n", "\(outcome.errors)")
                #expect(outcome.errors == "")
            }
        }

        @Test("A machine of the command's own takes its calls, too")
        func ownMachine() throws {
            let client = try Client.policies.command(["calls"])[0]
            let outcome = try run([
                Host.cdmfs, "run", "--", "sh", "-c", "\(client) calls $CDMFS_MOUNTPOINT/buffers/a",
            ])
            #expect(outcome.output == "ok\n", "\(outcome.errors)")
        }

        @Test("Mems_allowed and numa_maps are the machine's")
        func files() throws {
            try TestMount.with { mount in
                let path = mount.path + "/buffers/a"
                let lines = try tool(mount, Client.policies.command(["files", path])).output.split(separator: "\n")
                try #require(lines.count == 3, "\(lines)")
                let words = Array(repeating: "00000000", count: 31) + ["00000003"]
                #expect(lines[0] == "Mems_allowed:\t" + words.joined(separator: ","))
                #expect(lines[1] == "Mems_allowed_list:\t0-1")
                #expect(lines[2].hasSuffix(" bind:1 file=\(path) mapped=64 N1=64 kernelpagesize_kB=4"), "\(lines[2])")
            }
        }

        @Test("A policy of a range by its file: a line each, and the lines written back restore it")
        func ranges() throws {
            try TestMount.with { mount in
                try mount.makeBuffer("a", size: 1 << 20)
                let file = "sys/kernel/cdm/buffers/a/policy"
                try mount.store("interleave:0-1", in: file)
                try mount.store("0x1000 0x2000 bind:1", in: file)
                try mount.store("0x8000 0x1000 prefer (many):0-1", in: file)
                let text = try mount.text(file)
                #expect(text == "interleave:0-1\n0x1000 0x2000 bind:1\n0x8000 0x1000 prefer (many):0-1\n")
                // Those of one policy that follow each other are one; a part of the whole's policy is none.
                try mount.store("0x3000 0x1000 bind:1", in: file)
                try mount.store("0x2000 0x1000 interleave:0-1", in: file)
                #expect(try mount.text(file).contains("\n0x1000 0x1000 bind:1\n0x3000 0x1000 bind:1\n"))
                for line in text.split(separator: "\n") { try mount.store(String(line), in: file) }
                #expect(try mount.text(file) == text)
                for wrong in [
                    "0x1000 bind:1", "1 2 bind:1", "0 0 bind:1", "0x1000 0x1000 bind:7", "0 -4096 bind:1",
                    "0xfffffffffffff000 0x1000 bind:1",
                ] {
                    #expect(throws: Errno.invalidArgument, "\(wrong)") { try mount.store(wrong, in: file) }
                }
                #expect(try mount.text(file) == text)
                try mount.store("default", in: file)
                #expect(try mount.text(file) == "default\n")
            }
        }

        @Test("Calls under a timer of signals end, and nothing hangs")
        func signals() throws {
            try TestMount.with { mount in
                let outcome = try tool(mount, Client.policies.command(["signals"]))
                #expect(outcome.output == "ok\n", "\(outcome.errors)")
            }
        }

        @Test("A signal does not interrupt the first brk(2) of a program")
        func heap() throws {
            try TestMount.with { mount in
                let outcome = try tool(mount, Client.policies.command(["heap", 100]))
                #expect(outcome.output == "ok\n", "\(outcome.errors)")
            }
        }

        @Test("A program goes on when the daemon is killed, and is told so once")
        func orphaned() throws {
            try TestMount.with(endsItself: true) { mount in
                let program = try Child(
                    [Host.cdmfs, "run", "--mount", mount.path, "--"] + Client.policies.command(["endless"]))
                #expect(try program.line() == "ok")
                try mount.killDaemon()
                #expect(try run([Host.cdmfs, "unmount", mount.path]).succeeded)
                // The keeper says nothing about a daemon that ends with the last program.
                try program.waitForErrors()
                program.kill(SIGTERM)
                let outcome = try program.finish()
                #expect(outcome.ending == .exited(0))
                #expect(outcome.output == "end\n")
                let told = "cdmfs: run: the daemon has ended; programs go on, and their calls act on the host\n"
                #expect(outcome.errors == told)
            }
        }

        @Test("A run in a run has its view, and says in one line whose its calls are")
        func nested() throws {
            try TestMount.with { mount in
                let inner = [Host.cdmfs, "run", "--mount", mount.path, "--", "cat", "/sys/devices/system/node/online"]
                let outcome = try tool(mount, inner)
                #expect(outcome.output == "0-1\n")
                #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
                #expect(outcome.errors.contains("there is another listener already"))
            }
        }

        @Test("A program that makes a listener of its own is refused, and one line says so")
        func ownListener() throws {
            // PR_SET_NO_NEW_PRIVS; SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_NEW_LISTENER, and a filter of one SECCOMP_RET_ALLOW.
            let script = """
                import ctypes, struct
                libc = ctypes.CDLL(None, use_errno=True)
                libc.prctl(38, 1, 0, 0, 0)
                code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7fff0000))
                program = ctypes.create_string_buffer(struct.pack("=H6xQ", 1, ctypes.addressof(code)))
                for _ in range(2):
                    print(libc.syscall(317, 1, 8, program), ctypes.get_errno())
                """
            try TestMount.with { mount in
                let outcome = try tool(mount, ["python3", "-c", script])
                #expect(outcome.output == "-1 16\n-1 16\n", "\(outcome.errors)")
                let line =
                    "a program cannot have a seccomp listener of its own (EBUSY): a filter chain has at most one, which cdmfs uses"
                #expect(outcome.errors == "cdmfs: run: \(line)\n")
            }
        }

        @Test("What is no listener is refused, and who has too many gets no more")
        func refused() throws {
            try TestMount.with { mount in
                let file = "sys/kernel/cdm/programs"
                for wrong in ["", "1", "1 2 3", "-1 0", "x y", "99999999999 1"] {
                    #expect(throws: Errno.invalidArgument, "\(wrong)") { try mount.store(wrong, in: file) }
                }
                #expect(throws: Errno.invalidArgument) { try mount.store("0 0", in: file) }
                #expect(throws: Errno.badFileDescriptor) { try mount.store("9999 0", in: file) }
            }
        }

        @Test("Without memory of programs: the view, and the calls on buffers")
        func noMemory() throws {
            try TestMount.with { mount in
                let client = try Client.policies.command(["calls", mount.path + "/buffers/a"])
                let outcome = try run([Host.cdmfs, "run", "--no-memory", "--mount", mount.path, "--"] + client)
                #expect(outcome.output == "ok\n", "\(outcome.errors)")
            }
        }

        @Test("Programs of a PID namespace of their own: their calls are theirs")
        func namespaces() throws {
            try TestMount.with { mount in
                let command = try Client.policies.command(["calls", mount.path + "/buffers/a"])
                let outcome = try tool(mount, ["unshare", "-pf", "--mount-proc"] + command)
                #expect(outcome.output == "ok\n", "\(outcome.errors)")
            }
        }

        @Test("CPUs that the host has not: affinity is of them, is inherited, and places memory")
        func processors() throws {
            try TestMount.with(Machines.manyCPUs) { mount in
                #expect(try tool(mount, ["nproc"]).output == "144\n")
                #expect(try tool(mount, ["taskset", "-c", "100,143", "nproc"]).output == "2\n")
                #expect(try !tool(mount, ["taskset", "-c", "150", "true"]).succeeded)
                let bound = ["numactl", "--cpunodebind=1"]
                let status = try tool(mount, bound + ["grep", "Cpus_allowed_list", "/proc/self/status"])
                #expect(status.output == "Cpus_allowed_list:\t72-143\n", "\(status.errors)")
                let own = "import os, ctypes; print(ctypes.CDLL(None).sched_getcpu() in os.sched_getaffinity(0))"
                let cpu = try tool(mount, bound + ["python3", "-c", own])
                #expect(cpu.output == "True\n", "\(cpu.errors)")
                let path = try mount.makeBuffer("a", size: 1 << 20)
                let fill = "dd if=/dev/zero of=\(path) bs=64k count=16 conv=notrunc 2>/dev/null"
                #expect(try tool(mount, bound + ["sh", "-c", fill]).succeeded)
                #expect(try mount.text("sys/kernel/cdm/buffers/a/placement") == "N1=256\n")
            }
        }

        @Test("numactl's policies are a program's, and libnuma sees the nodes that it may use")
        func numactl() throws {
            try TestMount.with { mount in
                let shown = try tool(mount, ["numactl", "--membind=1", "numactl", "--show"])
                #expect(shown.output.contains("policy: bind\n"), "\(shown.output) \(shown.errors)")
                #expect(shown.output.contains("membind: 1 \n"), "\(shown.output)")
                let interleaved = try tool(mount, ["numactl", "--interleave=all", "numactl", "--show"])
                #expect(interleaved.output.contains("interleavemask: 0 1 \n"), "\(interleaved.output)")
                // A buffer without a policy is placed by it.
                let path = try mount.makeBuffer("a", size: 1 << 20)
                let fill = "dd if=/dev/zero of=\(path) bs=64k count=16 conv=notrunc 2>/dev/null"
                #expect(try tool(mount, ["numactl", "--membind=1", "sh", "-c", fill]).succeeded)
                #expect(try mount.text("sys/kernel/cdm/buffers/a/placement") == "N1=256\n")
            }
        }
    }
}
