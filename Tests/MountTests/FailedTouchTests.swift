import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// What the signal says of a touch of memory that failed: BUS_MCEERR_AR under `cdmfs run`, and elsewhere with `-o mceerr`.
    @Suite("Touches of failed memory", .enabled(if: Host.isRoot))
    struct FailedTouchTests {
        private static let size = 64 * 4096
        private static let addressError = 2
        private static let wantsAction = 4
        private static let link = "sys/class/cdm/cdm0/link/state"

        private func report(_ bad: [Int], granularity: Int = 12) -> Toucher.Report {
            .init(bad: bad, code: Self.wantsAction, granularity: granularity)
        }

        private func running(on mount: TestMount, _ flags: String...) -> [String] {
            [Host.cdmfs, "run", "--mount", mount.path] + flags + ["--"]
        }

        private func daemonThreads(_ mount: TestMount) throws -> Int {
            let daemon = try #require(mount.daemons().first)
            return try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon)/task").count
        }

        private func expectFailures(on mount: TestMount, under prefix: [String]) throws {
            let file = try mount.makeBuffer("a", size: Self.size, policy: "bind:1")
            let one = try Toucher("store", file, size: Self.size, under: prefix)
            let many = try Toucher("load", file, size: Self.size, threads: 6, under: prefix)
            let device = try Toucher("store", mount.path + "/dev/cdm0", size: Self.size, under: prefix)
            try mount.store("0x3000 0x2000", in: mount.control("a") + "/poison")
            for _ in 0..<3 {
                for toucher in [one, many] { #expect(try toucher.touch() == report([3, 4])) }
            }
            try mount.store("\(mount.address(of: 9, in: "a") / 4096)", in: "sys/kernel/debug/hwpoison/corrupt-pfn")
            #expect(try one.touch() == report([3, 4, 9]))
            // A hole makes one good.
            let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
            let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
            #expect(fallocate(descriptor.rawValue, mode, 3 * 4096, 4096) == 0)
            try descriptor.close()
            #expect(try many.touch() == .init(bad: [4, 9], zero: [3], code: Self.wantsAction, granularity: 12))
            #expect(try device.touch() == .init())
            try mount.store("down", in: Self.link)
            for toucher in [one, many, device] { #expect(try toucher.touch() == report(Array(0..<64))) }
            try mount.store("up", in: Self.link)
            try mount.store("1", in: "sys/bus/pci/rescan")
            for toucher in [one, many, device] { #expect(try toucher.touch() == report(Array(0..<64))) }
            for toucher in [one, many, device] { #expect(try toucher.end().succeeded) }
        }

        @Test("Poison and a cut link under run, by one thread and by many")
        func programs() throws {
            try TestMount.with(checkingLeaks: false) { mount in try expectFailures(on: mount, under: running(on: mount))
            }
        }

        @Test("Poison and a cut link in any program, with the option")
        func option() throws {
            try TestMount.with(options: ["mceerr"], checkingLeaks: false) { mount in
                try expectFailures(on: mount, under: [])
            }
        }

        @Test("The option is refused to who may not trace", .enabled(if: Host.has("setpriv")))
        func refusal() throws {
            try TestMount.unmounted { mount in
                let drop = ["setpriv", "--bounding-set", "-sys_ptrace"]
                let outcome = try run(drop + mount.command(options: ["mceerr"]))
                #expect(outcome.ending == .exited(32))
                #expect(
                    outcome.errors.hasSuffix(
                        "mceerr: the daemon may not trace other processes, which takes CAP_SYS_PTRACE\n"))
                #expect(outcome.errors.split(separator: "\n").count == 1)
            }
        }

        @Test("A program that is not under run gets BUS_ADRERR; so does a page without a frame")
        func others() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: Self.size, policy: "bind:1")
                let inside = try Toucher("store", file, size: Self.size, under: running(on: mount, "--no-memory"))
                let outside = try Toucher("store", file, size: Self.size)
                try mount.store("0x3000", in: mount.control("a") + "/poison")
                let plain = Toucher.Report(bad: [3], code: Self.addressError)
                #expect(try inside.touch() == report([3]))
                #expect(try outside.touch() == plain)
                // Behind the end of the file.
                let command = running(on: mount) + (try Client.sigbus.command(["load", file, Self.size, 4096]))
                #expect(try run(command)["failed"] == 1)
                for toucher in [inside, outside] { #expect(try toucher.end().succeeded) }
            }
        }

        @Test("A huge page of a pool fails as one of 2 MiB, as in hugetlbfs")
        func hugePage() throws {
            try TestMount.with(options: ["huge=pool"], checkingLeaks: false) { mount in
                try mount.store("4", in: "sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages")
                let file = try mount.makeBuffer("a", size: 4 << 20, policy: "bind:1")
                let toucher = try Toucher("store", file, size: 4 << 20, under: running(on: mount))
                try mount.store("0x203000", in: mount.control("a") + "/poison")
                #expect(try toucher.touch() == report(Array(512..<1024), granularity: 21))
                #expect(try toucher.end().succeeded)
            }
        }

        @Test(
            "A direct buffer that a program maps as its page fails is told of, and is well again afterwards",
            .enabled(if: Host.watchesAddressSpaces))
        func direct() throws {
            try TestMount.with(options: ["mapping=direct"], checkingLeaks: false) { mount in
                // Its frames are taken when it is sized.
                let file = try mount.makeBuffer("a", size: 0, policy: "bind:1")
                try #require(truncate(file, off_t(Self.size)) == 0)
                #expect(try mount.word(mount.control("a") + "/mapping") == "tracked [direct]")
                let one = try Toucher("store", file, size: Self.size, under: running(on: mount))
                try mount.store("0x3000 0x2000", in: mount.control("a") + "/poison")
                for _ in 0..<3 { #expect(try one.touch() == report([3, 4])) }
                // A program that maps it now sees what the kernel sends.
                let late = try Toucher("keep", file, size: Self.size, under: running(on: mount))
                #expect(try late.touch() == .init(bad: [3, 4], code: Self.addressError))
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                #expect(fallocate(descriptor.rawValue, mode, 3 * 4096, 2 * 4096) == 0)
                try descriptor.close()
                for toucher in [one, late] { #expect(try toucher.touch() == .init(zero: [3, 4])) }
                try mount.store("down", in: Self.link)
                // The daemon takes resident pages away after the link is cut.
                #expect(try eventually { try one.touch() == report(Array(0..<64)) })
                for toucher in [one, late] { #expect(try toucher.end().succeeded) }
            }
        }

        @Test("A system call that meets a failed page is an error, and no signal")
        func systemCalls() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 4096, policy: "bind:1")
                try mount.store("0", in: mount.control("a") + "/poison")
                let outcome = try run(running(on: mount) + Client.failing.command(["calls", file]))
                #expect(outcome.ending == .exited(0), "\(outcome.errors)")
                #expect(outcome.output == "ok\n")
            }
        }

        @Test("Who does not handle the signal is killed by it, also as the first process of a PID namespace")
        func death() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 4096, policy: "bind:1")
                try mount.store("0", in: mount.control("a") + "/poison")
                let script = """
                    import mmap, sys
                    file = open(sys.argv[1], "r+b")
                    print(mmap.mmap(file.fileno(), 4096)[0])
                    """
                let load = ["python3", "-c", script, file]
                #expect(try run(running(on: mount) + load).ending == .killed(SIGBUS))
                let first = ["unshare", "--pid", "--fork"]
                #expect(try run(running(on: mount) + first + load, within: 20).ending == .killed(SIGBUS))
            }
        }

        @Test("Programs that end, or become another one, while threads touch such a page leave nothing behind")
        func ends() throws {
            try TestMount.with(options: ["mceerr"], checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 4096, policy: "bind:1")
                try mount.store("0", in: mount.control("a") + "/poison")
                #expect(try Client.failing("cost", file, 20)["ns"]! > 0)
                let before = try daemonThreads(mount)
                for _ in 0..<6 {
                    #expect(try Client.failing("exec", file, within: 20).output == "ready\n")
                }
                for round in 0..<20 {
                    let storm = try Client.failing.start("storm", file)
                    #expect(try storm.line() == "ready")
                    usleep(UInt32(round) * 100)
                    storm.kill(SIGKILL)
                    #expect(try storm.finish().ending == .killed(SIGKILL))
                }
                #expect(try eventually { try daemonThreads(mount) <= before + 2 })
                #expect(try Client.failing("cost", file, 20)["ns"]! > 0)
            }
        }

        @Test("One user's programs keep no more than their share of threads, and others are told all the same")
        func share() throws {
            try TestMount.with(options: ["mceerr"], checkingLeaks: false) { mount in
                try mount.letOthersIn()
                let file = try mount.makeBuffer("a", size: 4096, policy: "bind:1")
                try check(unsafe chmod(file, 0o666))
                try mount.store("0", in: mount.control("a") + "/poison")
                let before = try daemonThreads(mount)
                let alice = ["setpriv", "--reuid", "1234", "--clear-groups"]
                let storms = try (0..<8).map { _ in try Child(alice + Client.failing.command(["storm", file])) }
                for storm in storms { #expect(try storm.line() == "ready") }
                for _ in 0..<20 { #expect(try daemonThreads(mount) <= before + 16 + 8) }
                let toucher = try Toucher("keep", file, size: 4096)
                #expect(try toucher.touch() == report([0]))
                #expect(try toucher.end().succeeded)
                for storm in storms {
                    storm.kill(SIGKILL)
                    _ = try storm.finish()
                }
            }
        }
    }
}
