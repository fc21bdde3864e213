import CLinux
import CoherentMemory
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Programs whose bytes are checked, while everything that moves their pages happens at random.
    @Suite("Storm")
    struct StormTests {
        /// What may happen to a job that meets another one.
        private static let expected: Set<Errno> = [
            .resourceBusy, .noMemory, .invalidArgument, .operationNotSupportedByDevice, .noSuchFileOrDirectory,
            .notPermitted, .resourceTemporarilyUnavailable, .interrupted,
        ]

        /// Everything that moves pages, at random but in the same order for the same seed.
        private struct Storm {
            let mount: TestMount
            let buffers: [String]
            let blocks: [Int]
            var random: SplitMix64
            var done = 0
            var succeeded = 0

            init(_ mount: TestMount, buffers: [String], seed: UInt64) throws {
                self.mount = mount
                self.buffers = buffers
                random = SplitMix64(seed: seed)
                blocks = try mount.names(in: "sys/devices/system/memory").compactMap { name in
                    name.hasPrefix("memory") ? Int(name.dropFirst(6)) : nil
                }.sorted()
            }

            private mutating func pick<Element>(_ choices: [Element]) -> Element {
                choices[Int(random.next() % UInt64(choices.count))]
            }

            mutating func step() throws {
                done += 1
                let control = mount.control(pick(buffers))
                let block = "sys/devices/system/memory/memory\(pick(blocks))/state"
                let node = pick([0, 1])
                let (text, file): (String, String)
                switch random.next() % 100 {
                case 0..<35: (text, file) = ("\(node)", control + "/migrate")
                case 35..<50:
                    let start = Int(random.next() % 1024) * 4096
                    let length = (1 + Int(random.next() % 512)) * 4096
                    (text, file) = (
                        "0x\(String(start, radix: 16)) 0x\(String(length, radix: 16)) \(node)", control + "/migrate"
                    )
                case 50..<58: (text, file) = ("async \(node)", control + "/migrate")
                case 58..<72: (text, file) = ("offline", block)
                case 72..<84: (text, file) = ("online", block)
                case 84..<88: (text, file) = ("0", "sys/devices/system/node/node1/cdm/migrate")
                case 88..<91: (text, file) = (pick(["offline", "online"]), "sys/class/cdm/cdm0/state")
                case 91..<94: (text, file) = ("1", "sys/devices/system/node/node\(node)/compact")
                case 94..<97: (text, file) = ("4M", "sys/devices/system/node/node\(node)/reclaim")
                default:
                    // Not bound to one node: when that is offline, a touch is refused, which no ordinary file does.
                    (text, file) = (pick(["default", "bind:0-1", "prefer:1", "interleave:0-1"]), control + "/policy")
                }
                do {
                    try mount.store(text, in: file)
                    succeeded += 1
                } catch let error as Errno where StormTests.expected.contains(error) {
                }
            }

            /// Brings everything back.
            func end() throws {
                for block in blocks {
                    let file = "sys/devices/system/memory/memory\(block)/state"
                    _ = eventually(within: 5) {
                        (try? mount.text(file)) == "online\n"
                            || (try? mount.store("online", in: file)) != nil
                    }
                }
            }
        }

        /// Runs a storm until `isOver`, or it has done `limit` things.
        private func storm(
            _ mount: TestMount, over buffers: [String], seed: UInt64, limit: Int, until isOver: (Int) throws -> Bool
        ) throws {
            var storm = try Storm(mount, buffers: buffers, seed: seed)
            while storm.done < limit, try !isOver(storm.done) { try storm.step() }
            try storm.end()
            #expect(storm.succeeded > 10, "\(storm.succeeded) of \(storm.done)")
        }

        /// How long a storm is to last at least: CDMFS_STORM_SECONDS in the environment, or as long as one round takes.
        private static let seconds =
            ProcessInfo.processInfo.environment["CDMFS_STORM_SECONDS"].flatMap { Int($0) } ?? 0

        @Test("Random operations do what they do on an ordinary file", arguments: [1, 2])
        func randomOperations(seed: Int) throws {
            let ordinary = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: ordinary) }
            let end = ContinuousClock.now + .seconds(Self.seconds / 2)
            try TestMount.with(seconds: 240 + Self.seconds) { mount in
                var round = 0
                repeat {
                    try randomOperations(mount, ordinary, seed: seed + 2 * round, round: round)
                    round += 1
                } while ContinuousClock.now < end
                if Self.seconds > 0 { print("storm \(seed): \(round) rounds") }
            }
        }

        private func randomOperations(_ mount: TestMount, _ ordinary: String, seed: Int, round: Int) throws {
            let names = ["a\(round)", "b\(round)", "c\(round)"]
            let clients = try names.enumerated().map { index, name in
                try Client.fsx.start(
                    "\(mount.path)/buffers/\(name)", "\(ordinary)/\(name)", seed * 10 + index, 1200)
            }
            #expect(eventually { names.allSatisfy { (try? mount.text(mount.control($0) + "/size")) != nil } })
            try storm(mount, over: names, seed: UInt64(seed), limit: 300) { done in
                // From here on, one of them has no name.
                if done == 60 { try? FileManager.default.removeItem(atPath: mount.path + "/buffers/" + names[2]) }
                return false
            }
            for client in clients {
                let outcome = try client.finish(within: 100)
                #expect(outcome.succeeded, "round \(round): \(outcome.ending) \(outcome.errors)")
            }
            for name in names { try? FileManager.default.removeItem(atPath: mount.path + "/buffers/" + name) }
        }

        @Test("16 processes store to a buffer while its policy and its place switch, and every store is there")
        func switching() throws {
            try TestMount.with(seconds: 240 + Self.seconds) { mount in
                let size = 16 << 20
                let file = try mount.makeBuffer("a", size: size)
                let clients = try (0..<16).map { _ in try Client.increment.start(file, "\(size)", 1) }
                for client in clients { #expect(try client.line() == "ready") }
                let end = ContinuousClock.now + .seconds(max(3, Self.seconds))
                var switches = 0
                // However slow the machine is.
                while ContinuousClock.now < end || switches < 4 {
                    let node = (switches + 1) % 2
                    let policy = ["bind:\(node)", "prefer:\(node)", "interleave:0-1", "default"][switches % 4]
                    try mount.store(policy, in: mount.control("a") + "/policy")
                    try mount.store("\(node)", in: mount.control("a") + "/migrate")
                    switches += 1
                }
                for client in clients { client.kill(SIGTERM) }
                // What each finds has the others' stores in it.
                let counted = try clients.map { client in
                    let outcome = try client.finish(within: 100)
                    guard case .exited = outcome.ending, let counted = outcome["counted"] else {
                        throw Failure("\(outcome.ending) \(outcome.errors)")
                    }
                    return counted
                }.reduce(0, +)
                let bytes = try #require(FileManager.default.contents(atPath: file))
                let found = unsafe bytes.withUnsafeBytes {
                    unsafe $0.bindMemory(to: UInt64.self).reduce(0) { $0 + Int($1) }
                }
                #expect(counted == found && found > 0)
            }
        }

        @Test("fio's own verification of a mapping", .enabled(if: Host.has("fio"), "fio is not installed"))
        func fio() throws {
            try TestMount.with { mount in
                try mount.makeBuffer("a", size: 16 << 20)
                let client = try Child([
                    "fio", "--name=verify", "--verify_state_save=0", "--filename=\(mount.path)/buffers/a",
                    "--size=16M", "--bs=4k-64k", "--loops=3", "--rw=randrw", "--ioengine=mmap", "--verify=crc32c",
                    "--verify_fatal=1", "--verify_backlog=64", "--randseed=7", "--output-format=terse",
                ])
                try storm(mount, over: ["a"], seed: 3, limit: 200) { _ in false }
                let outcome = try client.finish(within: 100)
                #expect(outcome.succeeded, "\(outcome.ending) \(outcome.errors) \(outcome.output)")
            }
        }

        @Test("Stores to memory that moves while it is dirty are all there, also of a buffer without a name")
        func dirtyWithoutAName() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 20)
                let client = try Client.increment.start(file, "64M", 2)
                #expect(try client.line() == "ready")
                try FileManager.default.removeItem(atPath: file)
                for round in 0..<6 {
                    let (source, target) = (round % 2, (round + 1) % 2)
                    try mount.store("\(client.pid) \(source) \(target)", in: "sys/kernel/cdm/migrate_pages")
                    let used = try mount.meminfo(target)["FilePages"]!
                    #expect(used >= 64 << 10, "\(used) kB")
                }
                client.kill(SIGTERM)
                let outcome = try client.finish()
                #expect(outcome.succeeded, "\(outcome.ending) \(outcome.output) \(outcome.errors)")
                #expect(outcome["counted"] == outcome["found"])
            }
        }
    }

    /// Dirty pages leave the page cache in bulk before they move over a link that takes its time.
    @Suite("Write-back", .overEachTransport)
    struct WriteBackTests {
        /// Where it is said that pages are unmapped while they move.
        private let pace = "sys/class/cdm/cdm0/link/pace"

        /// A program that has stored to every page of a buffer, and keeps it mapped.
        private func holder(of file: String, megabytes: Int) throws -> Child {
            let child = try Child([
                "python3", "-c",
                """
                import mmap, os, signal, sys
                size = int(sys.argv[2]) << 20
                memory = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), size)
                for start in range(0, size, 1 << 20): memory[start:start + (1 << 20)] = b"x" * (1 << 20)
                print("stored", flush=True)
                signal.pause()
                """, file, "\(megabytes)",
            ])
            #expect(try child.line() == "stored")
            return child
        }

        @Test("It comes in large requests")
        func requests() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 32 << 20)
                let holder = try holder(of: file, megabytes: 32)
                try mount.store("real", in: pace)
                try mount.store("1", in: mount.control("a") + "/migrate")
                // With what the kernel wrote back of its own accord.
                let writes = try mount.values(mount.control("a") + "/faults")["write"]!
                // Of 1 MiB at best; page by page they would be 8192.
                #expect((32...512).contains(writes), "\(writes)")
                #expect(try mount.placement("a") == [1: 8192])
                holder.kill(SIGKILL)
                _ = try holder.finish()
                let bytes = try #require(FileManager.default.contents(atPath: file))
                #expect(bytes.count == 32 << 20 && bytes.allSatisfy { $0 == 120 })
            }
        }

        @Test("kill -9 of the daemon meanwhile leaves nothing that hangs", arguments: [1, 10, 40, 100])
        func killed(milliseconds: Int) throws {
            try TestMount.with(Machines.large, endsItself: true) { mount in
                let file = try mount.makeBuffer("a", size: 256 << 20)
                let holder = try holder(of: file, megabytes: 256)
                try mount.store("real", in: pace)
                let shell = try Child(["sh", "-c", "echo ready; echo 1 > \(mount.path)/\(mount.control("a"))/migrate"])
                #expect(try shell.line() == "ready")
                // When in the migration it is killed is the point, and nothing tells.
                usleep(UInt32(milliseconds) * 1000)
                for daemon in mount.daemons() { kill(daemon, SIGKILL) }
                _ = try shell.finish()
                #expect(eventually { mount.daemons().isEmpty })
                holder.kill(SIGKILL)
                _ = try holder.finish()
                let unmount = try run([Host.cdmfs, "unmount", mount.path])
                #expect(unmount.succeeded, "\(unmount.errors)")
            }
        }

        /// A shell that migrates a buffer, at the moment when the daemon has the buffer's file open.
        private func shellWritingBack(_ buffer: String, of mount: TestMount, by daemon: pid_t) throws -> Child {
            let migrate = "\(mount.path)/\(mount.control(buffer))/migrate"
            let shell = try Child(["sh", "-c", "echo ready; echo 1 > \(migrate)"])
            #expect(try shell.line() == "ready")
            let deadline = ContinuousClock.now + .seconds(10)
            while !isWritingBack(daemon, "buffers/\(buffer)"), ContinuousClock.now < deadline {}
            #expect(ContinuousClock.now < deadline, "never seen")
            return shell
        }

        /// Whether a thread of the daemon has a file of its own mount open: it writes back.
        private func isWritingBack(_ daemon: pid_t, _ file: String) -> Bool {
            let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon)/task")) ?? []
            // Quickly, for it is not open for long.
            var target = [UInt8](repeating: 0, count: 256)
            return tasks.contains { task in
                // Its own table of descriptors has few.
                (0..<8).contains { number in
                    let length = unsafe target.withUnsafeMutableBytes {
                        unsafe readlink(
                            "/proc/\(daemon)/task/\(task)/fd/\(number)",
                            $0.baseAddress!.assumingMemoryBound(to: CChar.self),
                            $0.count)
                    }
                    return length > 0 && target.prefix(length).suffix(file.utf8.count).elementsEqual(file.utf8)
                }
            }
        }

        @Test("kill -9 of the daemon at the very moment when it has a file of its own mount open", arguments: 1...3)
        func killedWithFileOpen(round: Int) throws {
            try TestMount.with(Machines.large, endsItself: true) { mount in
                let file = try mount.makeBuffer("a", size: 256 << 20)
                let holder = try holder(of: file, megabytes: 256)
                try mount.store("real", in: pace)
                let daemon = try #require(mount.daemons().first)
                let shell = try shellWritingBack("a", of: mount, by: daemon)
                kill(daemon, SIGKILL)
                _ = try shell.finish()
                #expect(eventually { mount.daemons().isEmpty })
                holder.kill(SIGKILL)
                _ = try holder.finish()
                let unmount = try run([Host.cdmfs, "unmount", mount.path])
                #expect(unmount.succeeded, "\(unmount.errors)")
            }
        }

        @Test("A lazy unmount in the midst of it lets everybody end")
        func lazyUnmount() throws {
            try TestMount.with(Machines.large, endsItself: true) { mount in
                let file = try mount.makeBuffer("a", size: 128 << 20)
                let holder = try holder(of: file, megabytes: 128)
                try mount.store("real", in: pace)
                let daemon = try #require(mount.daemons().first)
                let shell = try shellWritingBack("a", of: mount, by: daemon)
                try check(unsafe umount2(mount.path, Int32(MNT_DETACH)))
                _ = try shell.finish(within: 30)
                holder.kill(SIGKILL)
                _ = try holder.finish()
                #expect(eventually { mount.daemons().isEmpty })
            }
        }

        @Test("Without the right to it, as not for root, dirty pages move all the same, one at a time")
        func unprivileged() throws {
            try TestMount.unmounted { mount in
                let limits = ["setpriv", "--bounding-set=-dac_read_search", "--inh-caps=-dac_read_search"]
                let mounted = try run(limits + mount.command(), environment: mount.environment)
                try #require(mounted.succeeded, "\(mounted.errors)")
                let file = try mount.makeBuffer("a", size: 8 << 20)
                let holder = try holder(of: file, megabytes: 8)
                try mount.store("real", in: pace)
                let before = try mount.values(mount.control("a") + "/faults")["write"]!
                try mount.store("1", in: mount.control("a") + "/migrate")
                #expect(try mount.values(mount.control("a") + "/faults")["write"]! - before >= 2048)
                #expect(try mount.placement("a") == [1: 2048])
                holder.kill(SIGKILL)
                _ = try holder.finish()
                let bytes = try #require(FileManager.default.contents(atPath: file))
                #expect(bytes.count == 8 << 20 && bytes.allSatisfy { $0 == 120 })
                let unmount = try run([Host.cdmfs, "unmount", mount.path])
                #expect(unmount.succeeded, "\(unmount.errors)")
            }
        }

        @Test("Under another mount at the same place, pages move all the same")
        func overmounted() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 16 << 20)
                let holder = try holder(of: file, megabytes: 16)
                try mount.store("real", in: pace)
                let migrate = try FileDescriptor.open(
                    FilePath(mount.path + "/" + mount.control("a") + "/migrate"), .writeOnly)
                try check(unsafe Glibc.mount("none", mount.path, "tmpfs", 0, nil))
                let outcome = Result { try migrate.closeAfter { try migrate.writeAll("1\n".utf8) } }
                try check(unsafe umount2(mount.path, 0))
                #expect(try outcome.get() == 2)
                #expect(try mount.placement("a") == [1: 4096])
                holder.kill(SIGKILL)
                _ = try holder.finish()
            }
        }
    }
}
