import CLinux
import Foundation
import SystemPackage
import Testing

private let jobs = "sys/kernel/cdm/jobs"
private let device = "sys/class/cdm/cdm0"
private let blockers = "sys/devices/system/node/node1/cdm/blockers"

extension Mounts {
    /// What moves memory: how it is listed, cancelled and kept from moving, and what becomes of it when something goes wrong.
    @Suite("Jobs", .overEachTransport)
    struct JobTests {
        private struct Job {
            let id: Int
            let kind, from, to, state: String
            let moved, total, rate: Int
        }

        private func list(_ mount: TestMount) throws -> [Job] {
            try mount.text(jobs).split(separator: "\n").map { line in
                let words = line.split(separator: " ").map(String.init)
                let pages = words.count == 7 ? words[4].split(separator: "/").compactMap { Int($0) } : []
                guard pages.count == 2, let id = Int(words[0]), let rate = Int(words[5]) else {
                    throw Failure("jobs says \(line)")
                }
                return Job(
                    id: id, kind: words[1], from: words[2], to: words[3], state: words[6], moved: pages[0],
                    total: pages[1], rate: rate)
            }
        }

        private func waitForMoves(_ mount: TestMount, _ id: Int) throws {
            #expect(try eventually { try list(mount).first { $0.id == id }?.moved ?? 0 > 0 })
        }

        private func waitForEnd(_ mount: TestMount, _ id: Int, _ state: String) throws {
            #expect(try eventually(within: 20) { try list(mount).first { $0.id == id }?.state != "running" })
            #expect(try list(mount).first { $0.id == id }?.state == state)
        }

        /// A batch of 2 MiB takes a fifth of a second from now on, or as long as other MB/s have it.
        private func slowDown(_ mount: TestMount, to bandwidth: Int = 10) throws {
            for figure in ["read", "write"] {
                try mount.store("\(bandwidth)", in: "\(device)/link/\(figure)_bandwidth")
            }
            try mount.store("real", in: "\(device)/link/pace")
        }

        @Test("Few pages move, whether a program has just used them or not, and are listed like others")
        func few() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 10)
                try Client.pattern("write", file, 0, "64K", 5)
                let migrate = mount.control("a") + "/migrate"
                for round in 1...12 {
                    if round % 3 == 0 { try Client.pattern("verify", file, 0, "64K", 5) }
                    if round % 5 == 0 { try Client.pattern("store", file, 0, "64K", 5) }
                    try mount.store("\(round % 2)", in: migrate)
                    #expect(try mount.word(migrate).hasPrefix("state=done moved=16 failed=0 bytes=65536 "))
                    let job = try #require(try list(mount).last)
                    #expect(job.id == round && job.kind == "buffer" && job.state == "done")
                    #expect(job.from == "\(1 - round % 2)" && job.to == "\(round % 2)")
                    #expect(job.moved == 16 && job.total == 16)
                }
                try Client.pattern("read", file, 0, "64K", 5)
                #expect(throws: Errno.invalidArgument) { try mount.store("0 1 0", in: migrate) }
                #expect(throws: Errno.operationNotSupportedByDevice) { try mount.store("7", in: migrate) }
                #expect(try list(mount).last?.id == 12)
            }
        }

        @Test("The list shows what runs, wakes who polls it, and cancels")
        func cancel() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 128 << 20)
                try Client.pattern("write", file, 0, "128M", 1)
                let migrate = mount.control("a") + "/migrate"
                #expect(try mount.text(jobs) == "")
                let watched = try FileDescriptor.open(FilePath("\(mount.path)/\(jobs)"), .readOnly)
                defer { try? watched.close() }
                var byte: [UInt8] = [0]
                _ = try unsafe byte.withUnsafeMutableBytes { unsafe try watched.read(into: $0) }
                try slowDown(mount)
                try mount.store("async 1", in: migrate)
                var entry = pollfd(fd: watched.rawValue, events: Int16(POLLPRI), revents: 0)
                #expect(unsafe poll(&entry, 1, 5000) == 1)
                try waitForMoves(mount, 1)
                let job = try #require(try list(mount).first)
                #expect(job.kind == "buffer" && job.from == "0" && job.to == "1" && job.total == 32768 && job.rate > 0)
                let line = try mount.word(migrate)
                #expect(line.hasPrefix("state=running ") && !line.hasSuffix("seconds=0.0000"))

                // One page goes between two batches, on the same buffer and on another, and has an account of its own.
                try mount.store("1", in: "\(device)/dma/channels")
                let other = try mount.makeBuffer("b", size: 5 * 4096)
                try Client.pattern("write", other, 0, 5 * 4096, 2)
                for (name, offset) in [("a", 120 << 20), ("b", 0)] {
                    // Where the machine is slow, not every time.
                    let isPrompt = try (0..<5).contains { attempt in
                        let before = try list(mount)[0]
                        try mount.store("\(offset + attempt * 4096) 4096 1", in: mount.control(name) + "/migrate")
                        let after = try list(mount)[0]
                        #expect(after.state == "running")
                        let line = try mount.word(mount.control(name) + "/migrate")
                        #expect(line.hasPrefix("state=done moved=1 failed=0 "), "\(line)")
                        return after.moved - before.moved <= 3 * 512
                    }
                    #expect(isPrompt)
                }
                for (text, error) in [
                    ("", Errno.invalidArgument), ("cancel", .invalidArgument), ("cancel x", .invalidArgument),
                    ("end 1", .invalidArgument), ("cancel 1 2", .invalidArgument), ("cancel 99", .noSuchProcess),
                ] { #expect(throws: error, "\(text)") { try mount.store(text, in: jobs) } }
                try mount.store("cancel 1", in: jobs)
                try waitForEnd(mount, 1, "cancelled")
                #expect(throws: Errno.noSuchProcess) { try mount.store("cancel 1", in: jobs) }

                // By the buffer's own file; whoever waits hears of it.
                let shell = try Child(["bash", "-c", "echo 1 > \(mount.path)/\(migrate)"])
                #expect(try eventually { try list(mount).last?.state == "running" })
                try mount.store("cancel", in: migrate)
                let outcome = try shell.finish()
                #expect(!outcome.succeeded && outcome.errors.contains("Interrupted"), "\(outcome.errors)")
                #expect(try list(mount).last?.state == "cancelled")
                try mount.store("cancel", in: migrate)
                try mount.store("off", in: "\(device)/link/pace")
                try mount.store("0", in: "sys/devices/system/node/node1/cdm/migrate")
                #expect(try list(mount).last?.kind == "node" && list(mount).last?.from == "1")
                try mount.store("cancel", in: "sys/devices/system/node/node1/cdm/migrate")
                try Client.pattern("verify", file, 0, "128M", 1)
                let moves = try mount.text("sys/kernel/cdm/migrations")
                #expect(moves.contains("0 1 buffer ") && moves.contains("1 0 node "), "\(moves)")
                let copied = try #require(Int(try mount.word("\(device)/dma/bytes")))
                #expect(copied > 0 && copied.isMultiple(of: 4096))
                #expect(try mount.word("\(device)/dma/busy") == "0" && mount.word("\(device)/dma/queued") == "0")
            }
        }

        @Test("Who polls the list or a result is woken on the way, but not too often")
        func progress() throws {
            try TestMount.with { mount in
                try Client.pattern("write", try mount.makeBuffer("a", size: 192 << 20), 0, "192M", 1)
                try slowDown(mount)
                let migrate = mount.control("a") + "/migrate"
                try mount.store("async 1", in: migrate)
                try waitForMoves(mount, 1)
                for file in [jobs, migrate] {
                    let watched = try FileDescriptor.open(FilePath("\(mount.path)/\(file)"), .readOnly)
                    defer { try? watched.close() }
                    var bytes = [UInt8](repeating: 0, count: 4096)
                    var texts: [String] = []
                    let start = ContinuousClock.now
                    for _ in 0..<8 {
                        let count = try unsafe bytes.withUnsafeMutableBytes {
                            unsafe try watched.read(fromAbsoluteOffset: 0, into: $0)
                        }
                        texts.append(String(decoding: bytes.prefix(count), as: UTF8.self))
                        var entry = pollfd(fd: watched.rawValue, events: Int16(POLLPRI), revents: 0)
                        #expect(unsafe poll(&entry, 1, 5000) == 1)
                    }
                    #expect(ContinuousClock.now - start > .milliseconds(600))
                    #expect(Set(texts).count == texts.count, "\(texts)")
                }
                try mount.store("cancel 1", in: jobs)
                try waitForEnd(mount, 1, "cancelled")
                #expect(try Int(mount.word("\(device)/link/modelled_ns"))! > 200_000_000)
                #expect(try mount.word("\(device)/dma/errors") == "0")
                try mount.store("off", in: "\(device)/link/pace")
            }
        }

        @Test("The list keeps the last 64 that have ended")
        func memory() throws {
            try TestMount.with { mount in
                try mount.fill(try mount.makeBuffer("a", size: 0), limit: 4096)
                for round in 0..<70 { try mount.store("\((round + 1) % 2)", in: mount.control("a") + "/migrate") }
                #expect(try list(mount).map(\.id) == Array(7...70))
                #expect(try list(mount).allSatisfy { $0.state == "done" && $0.moved == 1 && $0.total == 1 })
            }
        }

        @Test("Pinned pages stay; who maps them is told, and killed only by force")
        func pinned() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                for (name, size) in [("a b", 1 << 20), ("free", 1 << 20)] {
                    try Client.pattern("write", try mount.makeBuffer(name, size: size, policy: "bind:1"), 0, "1M", 1)
                }
                #expect(try mount.text(blockers) == "")
                let pinned = mount.control("a b") + "/pinned"
                #expect(try mount.word(pinned) == "0")
                #expect(throws: Errno.invalidArgument) { try mount.store("2", in: pinned) }
                try mount.store("1", in: pinned)
                #expect(try mount.pages("a b").allSatisfy { $0.flags == "dirty,pinned" })
                #expect(throws: Errno.resourceBusy) { try mount.store("0", in: mount.control("a b") + "/migrate") }
                #expect(
                    try mount.word(mount.control("a b") + "/migrate").hasPrefix("state=failed moved=0 failed=256 "))
                let figures = try mount.meminfo(1)
                #expect(figures["Unevictable"] == 1024 && figures["Mlocked"] == 1024 && figures["FilePages"] == 2048)
                #expect(figures["Active"]! + figures["Inactive"]! == 1024)
                #expect(try mount.vmstat(1)["nr_unevictable"] == 256)
                let run = try #require(try mount.pages("a b").first)
                let line = "0x\(String(run.physical, radix: 16)) 0x100000 pinned a\\040b"
                #expect(try mount.text(blockers) == line + " -\n")
                let victim = try Client.increment.start(mount.path + "/buffers/a b", "1M", 1)
                #expect(try victim.line() == "ready")
                let bystander = try Client.increment.start(mount.path + "/buffers/free", "1M", 1)
                #expect(try bystander.line() == "ready")
                #expect(try mount.text(blockers) == "\(line) \(victim.pid)\n")
                #expect(throws: Errno.resourceBusy) { try mount.store("offline", in: "\(device)/state") }
                #expect(try list(mount).last?.kind == "offline")
                try mount.store("online", in: "\(device)/state")
                let reader = try UeventReader(mount)
                try mount.store("force", in: "\(device)/remove")
                #expect(try victim.finish().ending == .killed(SIGKILL))
                let killed = try reader.events().filter { $0["KILLED"] != nil }
                #expect(killed.map { $0["KILLED"] } == ["\(victim.pid)"] && killed.first?["COMM"] == "increment")
                #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry(device) }
                bystander.kill(SIGTERM)
                #expect(try bystander.finish().succeeded)
                #expect(try mount.placement("free") == [0: 256] && mount.placement("a b") == [:])
            }
        }

        @Test("What goes wrong half-way", arguments: ["offline", "truncate", "unlink", "kill", "full"])
        func failures(what: String) throws {
            let topology = what == "full" ? Machines.make(device: "16M") : Machines.small
            try TestMount.with(topology) { mount in
                let file = try mount.makeBuffer("a", size: 32 << 20, policy: "prefer:0")
                try Client.pattern("write", file, 0, "32M", 1)
                // What is to meet the job on its way has time.
                try slowDown(mount, to: ["kill", "offline"].contains(what) ? 3 : 10)
                let shell = try Child(["bash", "-c", "echo 1 > \(mount.path)/\(mount.control("a"))/migrate"])
                #expect(try eventually { try !list(mount).isEmpty })
                try waitForMoves(mount, 1)
                switch what {
                case "offline":
                    try mount.store("offline", in: "\(device)/state")
                    #expect(try shell.finish().errors.contains("Cannot allocate memory"))
                    try waitForEnd(mount, 1, "partial")
                    #expect(try mount.placement("a") == [0: 8192])
                case "truncate":
                    guard unsafe truncate(file, 4096) == 0 else { throw Errno(rawValue: errno) }
                    #expect(try shell.finish().succeeded)
                    try waitForEnd(mount, 1, "done")
                    #expect(try mount.placement("a").values.reduce(0, +) == 1)
                case "unlink":
                    try FileManager.default.removeItem(atPath: file)
                    #expect(try shell.finish().succeeded)
                    try waitForEnd(mount, 1, "done")
                case "kill":
                    shell.kill(SIGKILL)
                    #expect(try shell.finish().ending == .killed(SIGKILL))
                    try waitForEnd(mount, 1, "cancelled")
                    #expect(try mount.placement("a").values.reduce(0, +) == 8192)
                default:
                    #expect(try shell.finish().errors.contains("Cannot allocate memory"))
                    try waitForEnd(mount, 1, "partial")
                    #expect(try mount.placement("a") == [0: 4096, 1: 4096])
                }
                try mount.store("off", in: "\(device)/link/pace")
                if what == "truncate" {
                    try Client.pattern("verify", file, 0, 4096, 1)
                } else if what != "unlink" {
                    try Client.pattern("verify", file, 0, "32M", 1)
                }
                if what == "offline" { try mount.store("online", in: "\(device)/state") }
            }
        }

        @Test("Unmounting half-way ends the job and the mount")
        func unmount() throws {
            try TestMount.with(endsItself: true) { mount in
                try Client.pattern("write", try mount.makeBuffer("a", size: 64 << 20), 0, "64M", 1)
                try slowDown(mount)
                let shell = try Child(["bash", "-c", "echo 1 > \(mount.path)/\(mount.control("a"))/migrate"])
                #expect(try eventually { try !list(mount).isEmpty })
                try waitForMoves(mount, 1)
                let daemon = try #require(mount.daemons().first)
                kill(daemon, SIGTERM)
                #expect(try !shell.finish().succeeded)
                #expect(eventually { mount.daemons().isEmpty })
                #expect(!TestMount.isMounted(mount.path))
            }
        }

        @Test("A paced link holds up who touches pages that are on their way, also who had them mapped")
        func pacedTouches() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 10)
                let program = """
                    import mmap, os, signal, sys, time
                    memory = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 65536)
                    for page in range(16): memory[page * 4096] = page if page != 1 else 7
                    over = []
                    signal.signal(signal.SIGTERM, lambda *_: over.append(1))
                    print("ready", flush=True)
                    longest, last = 0, time.monotonic()
                    while not over:
                        memory[4096] = 7
                        now = time.monotonic()
                        longest, last = max(longest, now - last), now
                    print(f"longest={int(longest * 1000)} sum={sum(memory[page * 4096] for page in range(16))}")
                    """
                /// The longest time, in ms, that a store took meanwhile.
                func stall() throws -> Int {
                    let client = try Child(["python3", "-c", program, file])
                    #expect(try client.line() == "ready")
                    try mount.store("1", in: mount.control("a") + "/migrate")
                    #expect(try mount.placement("a") == [1: 16])
                    client.kill(SIGTERM)
                    let outcome = try client.finish()
                    #expect(outcome["sum"] == 126)
                    try mount.store("0", in: mount.control("a") + "/migrate")
                    return outcome["longest"] ?? 0
                }
                for figure in ["read", "write"] {
                    try mount.store("300000000", in: "\(device)/link/\(figure)_latency")
                }
                #expect(try stall() < 250)
                try mount.store("real", in: "\(device)/link/pace")
                #expect(try (250...2000).contains(stall()))
                try mount.store("off", in: "\(device)/link/pace")
            }
        }

        @Test("A paced link makes faults wait, and no other request")
        func pacedFaults() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 4096, policy: "bind:1")
                try Client.pattern("write", file, 0, 4096, 1)
                #expect(throws: Errno.invalidArgument) { try mount.store("fast", in: "\(device)/link/pace") }
                try mount.store("300000000", in: "\(device)/link/read_latency")
                try mount.store("real", in: "\(device)/link/pace")
                #expect(try mount.word("\(device)/link/pace") == "off [real]")
                // Out of the page cache, so that the next touch is a fault.
                try mount.store("0", in: mount.control("a") + "/migrate")
                try mount.store("1", in: mount.control("a") + "/migrate")
                let start = ContinuousClock.now
                try Client.pattern("verify", file, 0, 4096, 1)
                #expect(ContinuousClock.now - start >= .milliseconds(300))
                try mount.store("off", in: "\(device)/link/pace")
            }
        }
    }
}
