import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// What io_uring and aio ask for, whose callers do not wait for the answer in the kernel.
    @Suite("Asynchronous requests", .overEachTransport)
    struct AsynchronousTests {
        private let uevents = "sys/kernel/cdm/uevents"

        /// Buffers of either kind, and the device's file.
        private func files(_ mount: TestMount) throws -> [String] {
            let tracked = try mount.makeBuffer("tracked", size: 1_234_500)
            let direct = try mount.makeBuffer("direct", size: 1_234_500)
            try mount.store("direct", in: mount.control("direct") + "/mapping")
            for file in [tracked, direct] { try Client.pattern("write", file, 0, "1234496", 3) }
            return [tracked, direct, mount.path + "/dev/cdm0"]
        }

        @Test("Reads find what pread(2) finds, at the end and behind it, too")
        func reads() throws {
            try TestMount.with(Machines.make(device: "32M")) { mount in
                for attribute in ["devices/system/node/online", "kernel/cdm/zonelists", "class/cdm/cdm0/size"] {
                    #expect(try Client.asynchronous("read", mount.path + "/sys/" + attribute, "64K")["reads"] == 70)
                }
                for file in try files(mount) {
                    for words in [[], ["direct"]] {
                        let command = try Client.asynchronous.command(["read", file, "3M"] + words)
                        let outcome = try run(command)
                        #expect(outcome["reads"] == 70, "\(file) \(words): \(outcome.errors)")
                    }
                }
                try mount.expectAgreement()
            }
        }

        @Test("Writes store what pwrite(2) stores, and fail as it does")
        func writes() throws {
            try TestMount.with(Machines.make(device: "32M")) { mount in
                for file in try files(mount) {
                    for (offset, words) in [("4096", []), ("4096", ["direct"]), ("1230000", ["direct"]), ("5M", [])] {
                        let command = try Client.asynchronous.command(["write", file, offset, 100_000] + words)
                        let outcome = try run(command)
                        #expect(outcome["written"] == 100_000, "\(file) \(offset) \(words): \(outcome.errors)")
                    }
                }
                // What does not fit is ENOSPC, also where a part of it would.
                let full = try mount.makeBuffer("full", size: 0, policy: "bind:1")
                #expect(try Client.asynchronous("write", full, 0, "40M", "direct")["written"] == Int(-ENOSPC))
                #expect(try mount.entry("buffers/full").status.st_size == 0)
                try FileManager.default.removeItem(atPath: full)
                // A device ends where it ends.
                let device = mount.path + "/dev/cdm0"
                #expect(try Client.asynchronous("write", device, "32M", 4096)["written"] == Int(-ENOSPC))
                let policy = mount.path + "/" + mount.control("tracked") + "/policy"
                #expect(try Client.asynchronous("store", policy, "bind:1").output == "io_uring=6 aio=6 \n")
                #expect(try mount.word(mount.control("tracked") + "/policy") == "bind:1")
                let errors = "io_uring=-\(EINVAL) aio=-\(EINVAL) \n"
                #expect(try Client.asynchronous("store", policy, "bond:1").output == errors)
                // One that a job answers.
                let migrate = mount.path + "/" + mount.control("tracked") + "/migrate"
                #expect(try Client.asynchronous("store", migrate, "1").output == "io_uring=1 aio=1 \n")
                #expect(try mount.placement("tracked").keys.sorted() == [1])
                try mount.expectAgreement()
            }
        }

        @Test("Reads of the events wait for one; who is killed meanwhile ends")
        func waiting() throws {
            try TestMount.with { mount in
                let waiting = try Client.asynchronous.start("wait", mount.path + "/" + uevents)
                #expect(try waiting.line() == "waiting")
                try mount.makeBuffer("a", size: 4096)
                try mount.makeBuffer("b", size: 4096)
                let output = try waiting.finish().output
                #expect(output.contains("DEVPATH=/kernel/cdm/buffers/a\n"), "\(output)")
                #expect(output.contains("DEVPATH=/kernel/cdm/buffers/b\n"), "\(output)")

                let killed = try Client.asynchronous.start("wait", mount.path + "/" + uevents)
                #expect(try killed.line() == "waiting")
                killed.kill(SIGKILL)
                #expect(try killed.finish(within: 10).ending == .killed(SIGKILL))
            }
        }

        @Test("However many wait for good, the others are served: write-back, read-ahead, and whoever else reads")
        func flood() throws {
            try TestMount.with { mount in
                let events = mount.path + "/" + uevents
                let flood = try Client.asynchronous.start("flood", events, 600, 0)
                #expect(try flood.line() == "waiting")
                let file = try mount.makeBuffer("a", size: 4 << 20)
                try Client.pattern("store", file, 0, "4M", 1)
                // Dirty pages come back, and are read ahead.
                try mount.store("1", in: mount.control("a") + "/migrate")
                try Client.pattern("verify", file, 0, "4M", 1)
                flood.kill(SIGKILL)
                _ = try flood.finish(within: 20)
            }
        }

        @Test(
            "An ordinary user may have only so many wait (ENOBUFS), and takes nothing from others",
            .enabled(if: Host.has("setpriv"), "util-linux has it"))
        func user() throws {
            try TestMount.with { mount in
                let events = mount.path + "/" + uevents
                try check(unsafe chmod(FilePath(mount.path).removingLastComponent().string, 0o755))
                let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
                // Nothing between: it is killed itself.
                let flood = try Child(user + Client.asynchronous.command(["flood", events, 1500, 1500 - 1024]))
                #expect(try flood.line() == "waiting")
                let waiting = try Client.asynchronous.start("wait", events)
                #expect(try waiting.line() == "waiting")
                try mount.makeBuffer("a", size: 4096)
                try mount.makeBuffer("b", size: 4096)
                #expect(try waiting.finish().succeeded)
                flood.kill(SIGKILL)
                _ = try flood.finish(within: 20)
            }
        }
    }
}
