import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// What befalls the memory of a buffer comes to the same for the program, whichever way it is mapped.
    @Suite("Tracked and direct mappings alike")
    struct DirectOutcomeTests {
        /// How a buffer is mapped, and with which pages.
        enum Kind: String, CaseIterable, Sendable {
            case tracked, direct, huge

            var isDirect: Bool { self != .tracked }
            var options: [String] {
                isDirect ? ["mapping=direct", "huge=\(self == .huge ? "within_size" : "never")"] : []
            }
            /// With a huge page, where there are some.
            var pages: Int { self == .huge ? 1024 : 64 }
        }

        private static let busError = 2

        /// Mounts a machine with a buffer on the device's node, of which a program stores to every page.
        private func with(
            _ kind: Kind, _ topology: String = Machines.small,
            _ body: (_ mount: TestMount, _ file: String, _ toucher: Toucher) throws -> Void
        ) throws {
            try TestMount.with(topology, options: kind.options, checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 0, policy: "bind:1")
                try check(unsafe truncate(file, off_t(kind.pages * 4096)))
                let mode = try mount.word(mount.control("a") + "/mapping")
                #expect(mode == (kind.isDirect ? "tracked [direct]" : "[tracked] direct"))
                let toucher = try Toucher("store", file, size: kind.pages * 4096)
                #expect(try toucher.touch() == .init())
                try body(mount, file, toucher)
                #expect(try toucher.end().succeeded)
                try mount.expectAgreement()
            }
        }

        private func punch(_ file: String, pages: Range<Int>) throws {
            let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
            try descriptor.closeAfter {
                let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                try check(
                    fallocate(descriptor.rawValue, mode, off_t(pages.lowerBound * 4096), off_t(pages.count * 4096)))
            }
        }

        @Test("A program that makes holes through its mapping, where a page has failed, harms only itself")
        func removal() throws {
            try TestMount.with(options: Kind.direct.options, checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 64 * 4096)
                try Client.pattern("write", file, 0, "256K", 1)
                try mount.store("0x3000", in: mount.control("a") + "/poison")
                let program = try Child([
                    "python3", "-c",
                    """
                    import mmap, os, sys
                    file = os.open('\(file)', os.O_RDWR)
                    memory = mmap.mmap(file, 64 * 4096)
                    def take():
                        # What the hole gives back, the failed page has now.
                        memory.madvise(mmap.MADV_REMOVE, 5 * 4096, 4096)
                        memory[3 * 4096]
                    take()
                    assert os.pread(file, 10, 5 * 4096) == bytes(10)
                    take()
                    os.pwrite(file, b'x' * 4096, 5 * 4096)
                    assert memory[5 * 4096 : 6 * 4096] == b'x' * 4096
                    take()
                    print('taken', flush=True)
                    sys.stdin.read(1)
                    assert memory[5 * 4096 : 6 * 4096] == b'A' * 4096
                    memory[3 * 4096]
                    """,
                ])
                #expect(try program.line() == "taken")
                #expect(try mount.execute("fill a 20480 4096 65") == ["ok 4096"])
                #expect(try program.finish().ending == .killed(SIGBUS))
            }
        }

        @Test(
            "Poison is SIGBUS and EIO at exactly its page, until it is cleared or punched out", arguments: Kind.allCases
        )
        func poison(kind: Kind) throws {
            try with(kind) { mount, file, toucher in
                let (bad, last) = (5, kind.pages - 1)
                let device = try mount.address(of: bad, in: "a") - Machines.nodeSize
                try mount.store("\(device)", in: "\(TestMount.debug)/inject_poison")
                try mount.store("\(last * 4096)", in: mount.control("a") + "/poison")
                for _ in 0..<2 { #expect(try toucher.touch() == .init(bad: [bad, last], code: Self.busError)) }
                let other = try Toucher("keep", file, size: kind.pages * 4096)
                #expect(try other.touch() == .init(bad: [bad, last], code: Self.busError))
                #expect(try other.end().succeeded)
                for page in [bad, last] {
                    #expect(throws: Errno.ioError) { try mount.read(file, page: page) }
                    #expect(throws: Errno.ioError) { try mount.write(file, page: page) }
                }
                #expect(try mount.read(file, page: bad - 1, count: 8192) == 4096)
                #expect(try mount.pages("a", "poisoned") == [bad, last])
                #expect(try mount.placement("a") == [1: kind.pages - 2])
                // Away and back: the rest moves, these stay what they are.
                try mount.store("0", in: mount.control("a") + "/migrate")
                #expect(try mount.word(mount.control("a") + "/migrate").hasPrefix("state=partial"))
                #expect(try mount.placement("a") == [0: kind.pages - 2])
                #expect(try toucher.touch() == .init(bad: [bad, last], code: Self.busError))

                try mount.store("\(device)", in: "\(TestMount.debug)/clear_poison")
                #expect(try toucher.touch() == .init(bad: [last], zero: [bad], code: Self.busError))
                try punch(file, pages: last..<last + 1)
                #expect(try toucher.touch() == .init(zero: [bad, last]))
                for page in [bad, last] { #expect(try mount.write(file, page: page) == 4096) }
                #expect(try toucher.touch() == .init())
                #expect(try mount.placement("a").values.reduce(0, +) == kind.pages)
            }
        }

        @Test("A buffer with poison grows, shrinks and is unlinked while it is mapped", arguments: Kind.allCases)
        func resized(kind: Kind) throws {
            try with(kind) { mount, file, toucher in
                let (half, size) = (kind.pages / 2, kind.pages * 4096)
                for page in [3, half + 3] { try mount.store("\(page * 4096)", in: mount.control("a") + "/poison") }
                try check(unsafe truncate(file, off_t(half * 4096)))
                #expect(try toucher.touch() == .init(bad: [3] + Array(half..<kind.pages), code: Self.busError))
                try check(unsafe truncate(file, off_t(2 * size)))
                #expect(
                    try toucher.touch() == .init(bad: [3], zero: Array(half..<kind.pages), code: Self.busError))
                #expect(try mount.read(file, page: 2 * kind.pages - 1) == 4096)
                let used = try #require(try mount.meminfo(1)["MemUsed"])
                try check(unsafe unlink(file))
                #expect(try toucher.touch().bad == [3])
                // Not before the program lets it go.
                #expect(try mount.meminfo(1)["MemUsed"] == used)
                #expect(try toucher.end().succeeded)
                // The frames that failed are nobody's.
                #expect(try eventually { try mount.meminfo(1)["MemUsed"]! <= 2 * 4 })
                try mount.makeBuffer("b", size: size, policy: "bind:1")
            }
        }

        @Test(
            "A link that is cut takes its pages, and no others; what is punched out is had anew",
            arguments: Kind.allCases)
        func link(kind: Kind) throws {
            try with(kind) { mount, file, toucher in
                let kept = kind.pages / 2
                try mount.store("0 \(kept * 4096) 0", in: mount.control("a") + "/migrate")
                let lost = Array(kept..<kind.pages)
                try mount.store("down", in: "sys/class/cdm/cdm0/link/state")
                #expect(try toucher.touch() == .init(bad: lost, code: Self.busError))
                #expect(try mount.pages("a", "lost") == lost)
                #expect(throws: Errno.ioError) { try mount.read(file, page: kept) }
                #expect(try mount.read(file, page: kept - 1, count: 8192) == 4096)
                try mount.store("up", in: "sys/class/cdm/cdm0/link/state")
                try mount.store("online", in: "sys/devices/system/memory/auto_online_blocks")
                try mount.store("1", in: "sys/class/cdm/rescan")
                #expect(try mount.word("sys/devices/system/node/has_memory") == "0-1")
                #expect(try toucher.touch() == .init(bad: lost, code: Self.busError))
                try punch(file, pages: kept..<kind.pages)
                #expect(try toucher.touch() == .init(zero: lost))
                for page in lost { #expect(try mount.write(file, page: page, count: 8) == 8) }
                #expect(try toucher.touch() == .init())
                #expect(try mount.placement("a") == [0: kept, 1: kind.pages - kept])
            }
        }

        @Test("Soft offlining is not noticed, and what is pinned refuses it", arguments: Kind.allCases)
        func softOffline(kind: Kind) throws {
            try with(kind) { mount, file, toucher in
                let old = try mount.address(of: 7, in: "a")
                try mount.store("\(old)", in: "sys/devices/system/memory/soft_offline_page")
                #expect(try mount.address(of: 7, in: "a") != old)
                let worn = try mount.address(of: 9, in: "a")
                try mount.store("50 \(worn - Machines.nodeSize)", in: "\(TestMount.debug)/inject_correctable")
                #expect(try mount.address(of: 9, in: "a") != worn)
                #expect(try toucher.touch() == .init() && mount.placement("a") == [1: kind.pages])
                #expect(try mount.word("sys/class/cdm/cdm0/ras/retired") == "2")
                try mount.store("1", in: mount.control("a") + "/pinned")
                #expect(try mount.pages("a").allSatisfy { $0.flags.contains("pinned") })
                let pinned = try mount.address(of: 1, in: "a")
                #expect(throws: Errno.resourceBusy) {
                    try mount.store("\(pinned)", in: "sys/devices/system/memory/soft_offline_page")
                }
                #expect(throws: Errno.resourceBusy) { try mount.store("0", in: mount.control("a") + "/migrate") }
                #expect(throws: Errno.resourceBusy) { try mount.store("offline", in: "sys/class/cdm/cdm0/state") }
                #expect(try toucher.touch() == .init() && mount.placement("a") == [1: kind.pages])
                try mount.store("0", in: mount.control("a") + "/pinned")
                try mount.store("online", in: "sys/class/cdm/cdm0/state")
            }
        }

        @Test("Nowhere to go is EBUSY of an offlining, and all is as it was", arguments: Kind.allCases)
        func nowhere(kind: Kind) throws {
            try with(kind, Machines.make(ram: "32M", device: "64M")) { mount, file, toucher in
                let block = try #require(try mount.blocks(of: "a").first)
                // Whatever is free elsewhere is taken.
                try mount.makeBuffer("rest", size: 0, policy: "interleave:0-1")
                try mount.fill(mount.path + "/buffers/rest")
                #expect(throws: Errno.resourceBusy) {
                    try mount.store("offline", in: "sys/devices/system/memory/memory\(block)/state")
                }
                #expect(try mount.word("sys/devices/system/memory/memory\(block)/state") == "online")
                #expect(try toucher.touch() == .init() && mount.placement("a") == [1: kind.pages])
                try check(unsafe unlink(mount.path + "/buffers/rest"))
                let isFree = try eventually {
                    try mount.meminfo(0)["MemFree"] == 32 << 10 && mount.meminfo(1)["MemUsed"] == kind.pages * 4
                }
                #expect(isFree)
                try mount.store("offline", in: "sys/devices/system/memory/memory\(block)/state")
                #expect(try toucher.touch() == .init() && !mount.blocks(of: "a").contains(block))
            }
        }

        @Test("force ends who maps pinned pages", arguments: Kind.allCases)
        func force(kind: Kind) throws {
            try TestMount.with(options: kind.options, checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 0, policy: "bind:1")
                try check(unsafe truncate(file, off_t(kind.pages * 4096)))
                let victim = try Client.increment.start(file, "\(kind.pages * 4096)", 1)
                #expect(try victim.line() == "ready")
                try mount.store("1", in: mount.control("a") + "/pinned")
                #expect(throws: Errno.resourceBusy) { try mount.store("1", in: "sys/class/cdm/cdm0/remove") }
                try mount.store("force", in: "sys/class/cdm/cdm0/remove")
                #expect(try victim.finish().ending == .killed(SIGKILL))
                #expect(try mount.word("sys/devices/system/node/online") == "0")
                // What it held is no zeros, but lost, until a hole takes it away.
                try mount.store("default", in: mount.control("a") + "/policy")
                #expect(try Set(mount.pages("a").map(\.flags)) == ["lost"])
                #expect(throws: Errno.ioError) { try mount.read(file, page: 0) }
                try punch(file, pages: 0..<kind.pages)
                _ = try mount.read(file, page: 0)
            }
        }

        @Test("A restricted node is for who may use it; a refusal leaves nothing", arguments: Kind.allCases)
        func restricted(kind: Kind) throws {
            let topology = Machines.make(isolation: "restricted")
            try TestMount.with(topology, options: kind.options) { mount in
                let file = try mount.makeBuffer("a", size: 0)
                let size = kind.pages * 4096
                #expect(throws: Errno.notPermitted) { try mount.store("bind:1", in: mount.control("a") + "/policy") }
                let device = try FileDescriptor.open(FilePath(mount.path + "/dev/cdm0"), .readWrite)
                try mount.store("bind:1", in: mount.control("a") + "/policy")
                try device.close()
                // The device is released some time after it was closed.
                let isRefused = eventually {
                    let fresh = try? mount.makeBuffer("probe", size: 0)
                    defer { if let fresh { unsafe unlink(fresh) } }
                    return (try? mount.store("bind:1", in: mount.control("probe") + "/policy")) == nil
                }
                #expect(isRefused)
                // A tracked one is refused when it is touched, a direct one when it is sized.
                if kind.isDirect {
                    #expect(throws: Errno.notPermitted) { try check(unsafe truncate(file, off_t(size))) }
                    #expect(try status(file).st_size == 0)
                } else {
                    try check(unsafe truncate(file, off_t(size)))
                    #expect(try Client.sigbus("store", file, 0, size).output.contains("touched=0 "))
                }
                #expect(throws: Errno.notPermitted) { try mount.write(file, page: 0) }
                #expect(try mount.placement("a") == [:])
                try mount.store("\(getpid())", in: "sys/devices/system/node/node1/cdm/tasks")
                try check(unsafe truncate(file, off_t(size)))
                #expect(try mount.write(file, page: 0) == 4096)
                #expect(try mount.placement("a").keys.sorted() == [1])
                try mount.expectAgreement()
            }
        }

        @Test("What cannot be both says so and changes nothing: contiguous, a pool's pages, a device that has users")
        func exclusions() throws {
            try TestMount.with(Machines.make(contiguous: "64M"), checkingLeaks: false) { mount in
                let mapping = mount.control("a") + "/mapping"
                try mount.makeBuffer("a", size: 4 << 20)
                try mount.store("1", in: mount.control("a") + "/contiguous")
                #expect(throws: Errno.notSupported) { try mount.store("direct", in: mapping) }
                #expect(try mount.word(mapping) == "[tracked] direct")
                try mount.store("none", in: mount.control("a") + "/contiguous")
                try mount.store("direct", in: mapping)
                #expect(throws: Errno.notSupported) { try mount.store("1", in: mount.control("a") + "/contiguous") }
                #expect(throws: Errno.notSupported) { try mount.store("pool", in: mount.control("a") + "/huge") }
                #expect(try mount.word(mount.control("a") + "/contiguous") == "none")
                try mount.store("tracked", in: mapping)
                try mount.makeBuffer("b", size: 0)
                try mount.store("pool", in: mount.control("b") + "/huge")
                #expect(throws: Errno.notSupported) { try mount.store("direct", in: mount.control("b") + "/mapping") }
                // Poison keeps it from being made the other, too, until it is gone.
                try mount.store("direct", in: mapping)
                try mount.store("0x3000", in: mount.control("a") + "/poison")
                #expect(throws: Errno.ioError) { try mount.store("tracked", in: mapping) }
                try punch(mount.path + "/buffers/a", pages: 0..<1024)
                try mount.store("tracked", in: mapping)
                try mount.expectAgreement()
            }
        }

        @Test("A paced link makes a migration take its time, and a direct buffer's first touch none")
        func paced() throws {
            try with(.direct) { mount, file, toucher in
                try mount.store("real", in: "sys/class/cdm/cdm0/link/pace")
                // 64 pages at 1 MB/s are a quarter of a second.
                try mount.store("1", in: "sys/class/cdm/cdm0/link/read_bandwidth")
                let start = ContinuousClock.now
                try mount.store("0", in: mount.control("a") + "/migrate")
                #expect(ContinuousClock.now - start > .milliseconds(240))
                #expect(try toucher.touch() == .init() && mount.placement("a") == [0: 64])
            }
        }

        @Test("Nodes whose memory is a node of the host: refused where it has none, shown, and used")
        func hostNodes() throws {
            let text = Machines.make().replacing("kind = \"coherent\"", with: "kind = \"coherent\"\nhost_node = 0")
            try TestMount.with(text, options: ["mapping=direct"]) { mount in
                #expect(try mount.text("sys/kernel/cdm/host_nodes") == "node1 host=0 moved=0 failed=0\n")
                let file = try mount.makeBuffer("a", size: 8 << 20, policy: "bind:1")
                let client = try Client.increment.start(file, "8M", 2)
                #expect(try client.line() == "ready")
                for node in [0, 1, 0, 1] { try mount.store("\(node)", in: mount.control("a") + "/migrate") }
                // The file leaves a line out now and then while others map and unmap, and pages that the kernel is just moving.
                func numaMaps(_ process: String, _ name: String, has words: String...) throws {
                    var lines: [Substring] = []
                    let isThere = try eventually {
                        lines = try procfs("\(process)/numa_maps").split(separator: "\n").filter { $0.contains(name) }
                        return lines.contains { line in words.allSatisfy { line.contains(" \($0) ") } }
                    }
                    #expect(isThere, "\(name): \(lines)")
                }
                try numaMaps("\(client.pid)", "buffers/a", has: "prefer:0", "N0=2048")
                client.kill(SIGTERM)
                let outcome = try client.finish()
                #expect(outcome.succeeded, "\(outcome.output) \(outcome.errors)")
                #expect(try mount.text("sys/kernel/cdm/host_nodes") == "node1 host=0 moved=0 failed=0\n")
            }
        }
    }
}
