import CoherentMemory
import Foundation
import MachineTopology
import SystemPackage
import Testing
import TraceReplay

extension Mounts {
    /// `cdmfs replay`: what a mount did is done once more without one, page by page.
    @Suite("Replay")
    struct ReplayTests {
        /// Where each page of each buffer is.
        private typealias Placement = [String: [Int: Int]]

        /// A machine, and what is done to it.
        struct Scene: Sendable, CustomTestStringConvertible {
            var name: String
            var topology = Machines.small
            var body: @Sendable (TestMount, _ policy: String) throws -> Void
            var testDescription: String { name }
        }

        static let scenes = [
            Scene(name: "stores through a mapping, reads, write(2), holes, truncation, unlinking") { mount, policy in
                let file = try mount.makeBuffer("a", size: 8 << 20, policy: policy)
                let gone = try mount.makeBuffer("b", size: 1 << 20, policy: policy)
                try Client.pattern("store", file, "1M", "3M", 5)
                _ = try run(["dd", "if=\(file)", "of=/dev/null", "bs=1M", "count=2"])
                try Client.pattern("store", gone, 0, "1M", 5)
                _ = try run(["fallocate", "--punch-hole", "-o", "1572864", "-l", "65536", file])
                _ = try run(["truncate", "-s", "3M", file])
                _ = try run(["truncate", "-s", "16M", file])
                _ = try run(["dd", "if=/dev/zero", "of=\(file)", "bs=100k", "count=10", "seek=60", "conv=notrunc"])
                _ = try run(["fallocate", "-n", "-o", "12M", "-l", "1M", file])
                _ = unsafe unlink(gone)
            },
            Scene(
                name: "exhaustion: fall back, bind refusals",
                topology: Machines.make(ram: "32M", device: "16M", block: "2M", isolation: "none")
            ) { mount, policy in
                for (name, count) in [("a", 24), ("b", 32)] {
                    let file = try mount.makeBuffer(name, size: 64 << 20, policy: policy)
                    // A program that goes on when it is refused something does the same under every policy.
                    _ = try run([
                        "python3", "-c",
                        "import os, sys\nf = os.open(sys.argv[1], os.O_RDWR)\nfor n in range(int(sys.argv[2]) * 16):\n"
                            + "    try: os.pwrite(f, b'x' * 65536, n * 65536)\n    except OSError: pass",
                        file, "\(count)",
                    ])
                }
            },
            Scene(name: "migration by echo, policies of ranges, offlining", topology: Machines.four) { mount, policy in
                let file = try mount.makeBuffer("a", size: 8 << 20, policy: policy)
                try mount.store("0 1048576 bind:5", in: mount.control("a") + "/policy")
                try Client.pattern("store", file, 0, "6M", 5)
                try mount.store("0x100000 0x200000 4", in: mount.control("a") + "/migrate")
                try mount.store("0x0 0x180000 0", in: mount.control("a") + "/migrate")
                let block = try #require(mount.blocks(of: "a").first)
                try mount.store("offline", in: "sys/devices/system/memory/memory\(block)/state")
                try Client.pattern("store", file, "6M", "1M", 5)
                try mount.store("online", in: "sys/devices/system/memory/memory\(block)/state")
                try Client.pattern("store", file, "7M", "1M", 5)
            },
            Scene(
                name: "poison, a link that is cut, a rescan", topology: Machines.make(isolation: "none")
            ) { mount, policy in
                let file = try mount.makeBuffer("a", size: 8 << 20, policy: policy)
                _ = try run(["dd", "if=/dev/urandom", "of=\(file)", "bs=64k", "count=64", "conv=notrunc"])
                try mount.store("0x3000", in: "sys/kernel/debug/cdm/cdm0/inject_poison")
                try mount.store("0x5000", in: "sys/devices/system/memory/soft_offline_page")
                try mount.store("down", in: "sys/class/cdm/cdm0/link/state")
                _ = try run(["dd", "if=/dev/urandom", "of=\(file)", "bs=64k", "count=16", "seek=80", "conv=notrunc"])
                try mount.store("up", in: "sys/class/cdm/cdm0/link/state")
                try mount.store("online", in: "sys/devices/system/memory/auto_online_blocks")
                try mount.store("1", in: "sys/class/cdm/rescan")
                _ = try run(["dd", "if=/dev/urandom", "of=\(file)", "bs=64k", "count=16", "seek=100", "conv=notrunc"])
            },
        ]

        /// Records what is done to a mount.
        private func record(
            _ topology: String, _ body: (TestMount) throws -> Void
        ) throws -> (trace: RecordedTrace, placement: Placement, file: String) {
            var result: (RecordedTrace, Placement)?
            let file = NSTemporaryDirectory() + "replay-\(UUID().uuidString).trace"
            try TestMount.with(topology, checkingLeaks: false) { mount in
                let child = try Child([Host.cdmfs, "record", "-o", file, "--interval", "1", "--mount", mount.path])
                // With the first sample of the counters.
                let isOn = eventually {
                    (try? run([Host.cdmfs, "report", "--format", "text", file]))?.output.contains("\nsamples 1\n")
                        == true
                }
                #expect(isOn)
                try body(mount)
                var placement: Placement = [:]
                for name in try mount.names(in: "buffers") {
                    for run in try mount.pages(name)
                    where !run.flags.contains("poisoned") && !run.flags.contains("lost") {
                        for page in run.offset / 4096..<(run.offset + run.length) / 4096 {
                            placement[name, default: [:]][page] = run.node
                        }
                    }
                }
                child.kill(SIGINT)
                let outcome = try child.finish()
                #expect(outcome.succeeded && outcome.errors.contains("(0 lost)"), "\(outcome)")
                let descriptor = try FileDescriptor.open(FilePath(file), .readOnly)
                defer { try? descriptor.close() }
                result = (try RecordedTrace(descriptor), placement)
            }
            let (trace, placement) = try #require(result)
            return (trace, placement, file)
        }

        /// The placement of the buffers that the trace has a name for.
        private func placement(_ figures: TraceFigures, _ names: [UInt64: String]) -> Placement {
            var placement: Placement = [:]
            for (id, name) in names where !name.hasPrefix("(") && !name.hasPrefix("dev/") {
                for (range, node) in figures.placement(of: id) {
                    for page in range { placement[name, default: [:]][Int(page)] = node }
                }
            }
            return placement
        }

        private func replay(_ trace: RecordedTrace, _ options: ReplayOptions = ReplayOptions()) throws -> Replay {
            let topology = try Topology(toml: #require(trace.topology))
            let replay = try Replay(trace, on: topology, options: options)
            replay.run()
            return replay
        }

        @Test("With the record's options pages are where the mount had them", arguments: scenes)
        func same(scene: Scene) throws {
            for policy in ["bind:1", "interleave:0-1"] {
                let (trace, expected, file) = try record(scene.topology) { try scene.body($0, policy) }
                defer { try? FileManager.default.removeItem(atPath: file) }
                var recorded = TraceFigures()
                for event in trace.events { recorded.add(event) }
                let replay = try replay(trace)
                #expect(placement(recorded, trace.names) == expected, "recorded, \(policy)")
                #expect(placement(replay.figures, trace.names) == expected, "replayed, \(policy)")
                #expect(replay.figures.refused == recorded.refused && replay.figures.isolated == recorded.isolated)
                #expect(replay.figures.moved == recorded.moved && replay.figures.copyTime == recorded.copyTime)
                for (device, time) in trace.linkTime {
                    #expect(replay.linkTime[device] == time, "\(device), \(policy)")
                }
            }
        }

        @Test("With another policy they are where a mount with that policy has them", arguments: scenes.dropLast())
        func other(scene: Scene) throws {
            let policies = ["bind:1", "interleave:0-1"]
            for (policy, other) in [(policies[0], policies[1]), (policies[1], policies[0])] {
                // Policies of ranges are policies, too.
                let (trace, _, file) = try record(scene.topology) { try scene.body($0, policy) }
                try? FileManager.default.removeItem(atPath: file)
                let (_, expected, second) = try record(scene.topology) { mount in
                    try scene.body(mount, other)
                }
                try? FileManager.default.removeItem(atPath: second)
                guard !scene.name.contains("ranges") else { continue }
                let replay = try replay(trace, ReplayOptions(policy: other))
                #expect(placement(replay.figures, trace.names) == expected, "\(policy) recorded, \(other) replayed")
            }
        }

        @Test("Demotion of what was stored through a mapping, and the same from a record without it")
        func demotion() throws {
            let topology = Machines.make(ram: "32M", device: "32M", block: "2M", isolation: "none")
            func scene(_ mount: TestMount, _ demotion: Bool) throws {
                try mount.store(demotion ? "1" : "0", in: "sys/kernel/mm/numa/demotion_enabled")
                let file = try mount.makeBuffer("a", size: 64 << 20)
                try Client.pattern("store", file, 0, "30M", 5)
                // A request at a time, so that the last one wakes kswapd; it looks twice, with 100 ms in between.
                for step in 240..<272 {
                    try Client.pattern("store", file, "\(step * 128)K", "128K", 5)
                    let pressure = try mount.values("sys/kernel/cdm/pressure/node0")
                    guard demotion, pressure["free"]! < pressure["high"]! + 64 else { continue }
                    var (last, count) = (-1, 0)
                    let isBalanced = try eventually {
                        let free = try mount.values("sys/kernel/cdm/pressure/node0")["free"]!
                        count = free == last ? count + 1 : 0
                        last = free
                        usleep(20_000)
                        return count > 8
                    }
                    #expect(isBalanced)
                }
            }
            let (trace, expected, file) = try record(topology) { try scene($0, true) }
            let (plain, _, second) = try record(topology) { try scene($0, false) }
            defer { for file in [file, second] { try? FileManager.default.removeItem(atPath: file) } }
            let moved = try replay(trace).figures
            #expect(moved.moved[.demotion] != nil)
            // How many; which ones depends on who was faster, kswapd or the program.
            let id = try #require(trace.names.first { $0.value == "a" }?.key)
            let counts = Dictionary(grouping: expected["a", default: [:]].values) { $0 }.mapValues { UInt64($0.count) }
            #expect(moved.pages(of: id) == counts)
            let variant = try replay(plain, ReplayOptions(demotion: true)).figures
            #expect(variant.moved[.demotion] != nil)
            #expect(variant.pages(of: try #require(plain.names.first { $0.value == "a" }?.key)) == counts)
        }

        @Test("A program under run: its own memory, its policies, and what it asks for")
        func program() throws {
            let file = NSTemporaryDirectory() + "replay-\(UUID().uuidString).trace"
            defer { try? FileManager.default.removeItem(atPath: file) }
            let script =
                "truncate -s 4M $CDMFS_MOUNTPOINT/buffers/a; echo interleave:0-1 > $CDMFS_MOUNTPOINT/sys/kernel/cdm/buffers/a/policy; "
                + "head -c 2M /dev/zero > $CDMFS_MOUNTPOINT/buffers/a; "
                + "echo 0 1048576 0 > $CDMFS_MOUNTPOINT/sys/kernel/cdm/buffers/a/migrate"
            let outcome = try run(
                [Host.cdmfs, "record", "-o", file, "--preset", "default", "--", "sh", "-c", script], within: 60)
            #expect(outcome.succeeded, "\(outcome)")
            let table = try run([Host.cdmfs, "replay", file, "--policy", "bind:1", "--policy", "bind:0"])
            #expect(table.succeeded, "\(table)")
            let header = table.output.split(separator: "\n").first?.split(separator: " ").map(String.init)
            #expect(header == ["recorded", "replayed", "bind:1", "bind:0"])
            let json = try run([Host.cdmfs, "replay", file, "--policy", "bind:1", "--format", "json"])
            let object = try #require(
                JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
            let sections = try #require(object["sections"] as? [[String: Any]])
            let own = try #require(sections.first { $0["title"] as? String == "pages of a" })
            let rows = try #require(own["rows"] as? [[String: Any]])
            let values = rows.map { ($0["values"] as? [Int]) ?? [] }
            // head writes anew what it truncates: 512 pages, of which 256 move to node 0, each second one of them from node 1.
            #expect(values == [[384, 384, 256], [128, 128, 256]], "\(table.output)")
            let page = try run([Host.cdmfs, "replay", file, "--policy", "bind:1", "--format", "html"])
            #expect(page.succeeded && page.output.contains("pages of a: node1") && page.output.contains("<svg"))
            // The figures are the same once more.
            #expect(
                try run([Host.cdmfs, "replay", file, "--policy", "bind:1", "--format", "json"]).output == json.output)
        }

        @Test("Wrong words and wrong files are one line")
        func words() throws {
            let folder = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let file = folder + "/t"
            _ = try run([Host.cdmfs, "record", "-o", file, "--preset", "default", "--", "true"], within: 60)
            func refusal(_ words: String...) throws -> (Ending, Int) {
                let outcome = try run([Host.cdmfs, "replay"] + words)
                return (outcome.ending, outcome.errors.split(separator: "\n").count)
            }
            #expect(try refusal("/etc/hostname") == (.exited(65), 1))
            #expect(try refusal(folder + "/none") == (.exited(66), 1))
            #expect(try refusal(file, "--policy", "bind:9") == (.exited(64), 1))
            #expect(try refusal(file, "--policy", "what") == (.exited(64), 1))
            #expect(try refusal(file, "--balancing", "4") == (.exited(64), 1))
            #expect(try refusal(file, "--topology", folder + "/none") == (.exited(66), 1))
            try Machines.holes.write(toFile: folder + "/holes", atomically: true, encoding: .utf8)
            try "[[node]]\nid = 3\nkind = \"ram\"\nmemory = \"1G\"\ncpus = \"all\"\n".write(
                toFile: folder + "/other", atomically: true, encoding: .utf8)
            #expect(try refusal(file, "--topology", folder + "/other") == (.exited(65), 1))
            let bytes = try Data(contentsOf: URL(filePath: file))
            for length in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 40)) {
                try bytes.prefix(length).write(to: URL(filePath: folder + "/t2"))
                let outcome = try run([Host.cdmfs, "replay", folder + "/t2"])
                let isRefused = [.exited(64), .exited(65)].contains(outcome.ending)
                #expect(
                    outcome.succeeded || isRefused && outcome.errors.split(separator: "\n").count == 1,
                    "\(length): \(outcome)")
            }
        }

        @Test("A recorder that is killed leaves no events on, and no machine")
        func killed() throws {
            try TestMount.with { mount in
                let child = try Child([Host.cdmfs, "record", "-o", "/dev/null", "--mount", mount.path])
                let files = "/proc/\(child.pid)/fd"
                let hasBegun = eventually {
                    let names = (try? FileManager.default.contentsOfDirectory(atPath: files)) ?? []
                    return names.contains { FilePath(resolving: "\(files)/\($0)").lastComponent == "trace_pipe_raw" }
                }
                #expect(hasBegun)
                child.kill(SIGKILL)
                _ = try child.finish()
                #expect(try mount.text("sys/kernel/cdm/trace/enable") == "0\n")
            }
            let folder = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let child = try Child([
                Host.cdmfs, "record", "-o", folder + "/t", "--preset", "default", "--", "sh", "-c",
                "echo $CDMFS_MOUNTPOINT; exec sleep 100",
            ])
            let path = try child.line()
            #expect(TestMount.isMounted(path))
            child.kill(SIGKILL)
            let isGone = eventually { !TestMount.isMounted(path) && !FileManager.default.fileExists(atPath: path) }
            #expect(isGone)
        }
    }
}
