import Foundation
import Testing

extension Mounts {
    /// What programs under `cdmfs run` do to their processes; Tests/Clients/guests.c has them.
    @Suite("Programs that agents could get in the way of", .enabled(if: Host.isRoot && Host.watchesAddressSpaces))
    struct GuestTests {
        private func outcome(_ mount: TestMount, _ command: [String]) throws -> Outcome {
            try run([Host.cdmfs, "run", "--mount", mount.path, "--"] + command, within: 30)
        }

        private func expectFreed(_ mount: TestMount) throws {
            let isFree = try eventually { try (0...1).allSatisfy { try mount.meminfo($0)["AnonPages"] == 0 } }
            #expect(isFree)
        }

        @Test(
            "Processes of one address space, seccomp-strict programs, users of userfaultfd and sanitizers work",
            arguments: ["shared", "filter", "faults", "agent"])
        func guests(_ command: String) throws {
            try TestMount.with { mount in
                let outcome = try outcome(mount, Client.guests.command([command]))
                #expect(outcome.output == "ok\n", "\(outcome.ending) \(outcome.errors)")
                try expectFreed(mount)
            }
        }

        @Test("Programs of a user namespace are placed, and their agents end")
        func userNamespaces() throws {
            try TestMount.with { mount in
                let client = try Client.anonymous.command(["place", 1, "4M"])
                // A single id, and proc mounted anew, which the kernel allows where one is whole.
                let words = ["numactl", "--membind=1", "unshare", "-Urmpf", "--mount-proc"] + client
                let single = try outcome(mount, words)
                #expect(single.output == "ok\n", "\(single.ending) \(single.errors)")
                // The first process of a PID namespace that waits for all children.
                let first =
                    "import os\np = os.fork()\nif p == 0: os.execvp('\(client[0])', \(client))\n"
                    + "try:\n while True: os.wait()\nexcept ChildProcessError: pass\n"
                let waiting = try outcome(mount, ["numactl", "--membind=1", "unshare", "-pf", "python3", "-c", first])
                #expect(waiting.output == "ok\n", "\(waiting.ending) \(waiting.errors)")
                try expectFreed(mount)
            }
        }

        @Test("A program that is bound to a node lives on while the node goes offline and comes back")
        func offlining() throws {
            try TestMount.with { mount in
                let words = ["run", "--mount", mount.path, "--", "numactl", "--membind=1"]
                // It is the first offlining that finds it there: its policy then goes to another node (mpol_rebind_task()).
                for _ in 0..<4 {
                    let program = try Child([Host.cdmfs] + words + Client.guests.command(["churn"]))
                    #expect(try program.line() == "begin")
                    try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                    try mount.store("online", in: "sys/class/cdm/cdm0/state")
                    let outcome = try program.finish(within: 20)
                    #expect(outcome.output == "ok\n" && outcome.ending == .exited(0), "\(outcome.ending)")
                }
                try expectFreed(mount)
            }
        }

        @Test("Control groups are the machine's, and what is written there stays there")
        func controlGroups() throws {
            try TestMount.with(Machines.make(isolation: "none")) { mount in
                let before = try FileManager.default.contentsOfDirectory(atPath: "/sys/fs/cgroup").sorted()
                let commands =
                    "cd /sys/fs/cgroup && mkdir g && echo 1 > g/cpuset.mems && echo $$ > g/cgroup.procs"
                    + " && cat /proc/self/cgroup /proc/self/cpuset g/cpuset.mems.effective"
                    + " && grep Mems_allowed_list /proc/self/status"
                let outcome = try outcome(mount, ["sh", "-c", commands])
                #expect(outcome.output == "0::/g\n/g\n1\nMems_allowed_list:\t1\n", "\(outcome.errors)")
                #expect(try mount.word("sys/fs/cgroup/g/cpuset.mems") == "1")
                #expect(try FileManager.default.contentsOfDirectory(atPath: "/sys/fs/cgroup").sorted() == before)
            }
        }
    }
}
