import CLinux
import Foundation
import SystemPackage
import Testing

private let device = "sys/class/cdm/cdm0"
private let queue = device + "/queue"

extension Mounts {
    /// A device that computes on the memory that programs have mapped.
    @Suite("Engine")
    struct EngineTests {
        @Test("Commands, their results and their errors")
        func commands() throws {
            try TestMount.with { mount in
                _ = try mount.makeBuffer("a", size: 1 << 20, policy: "bind:0")
                try FileManager.default.createDirectory(
                    atPath: mount.path + "/buffers/d", withIntermediateDirectories: false)
                _ = try mount.makeBuffer("d/b", size: 1 << 20)
                #expect(try mount.text(queue + "/results") == "")
                #expect(
                    try mount.execute(
                        "fill a 0 0x1000 255\ncopy a 0 d/b 4096 4096\ncrc32 d/b 4096 4096\nread a 0 8192\nfence\n")
                        == ["ok 4096", "ok 4096", "ok 4048840458", "ok 8192", "ok 0"])
                #expect(
                    try mount.execute("write dev/cdm0 0 4096\nexclusive buffers/a 0 4096") == ["ok 4096", "ok 4096"])
                #expect(try mount.execute("crc32 a 1048576 1\nfill a 1044480 8192 1") == ["EFAULT 0", "EFAULT 0"])
                #expect(try mount.text(queue + "/results").hasPrefix("1 ok 4096\n2 ok 4096\n3 ok 4048840458\n"))
                for (line, error) in [
                    ("", Errno.invalidArgument), ("fence\nnonsense", .invalidArgument), ("fence 1", .invalidArgument),
                    ("fill a 0 1", .invalidArgument), ("fill a 0 1 x", .invalidArgument),
                    ("fill a 0 1 256", .outOfRange),
                    ("read none 0 1", .noSuchFileOrDirectory), ("read d 0 1", .noSuchFileOrDirectory),
                    ("read sys 0 1", .noSuchFileOrDirectory), ("crc32 a -1 1", .invalidArgument),
                    ("read a 1 0xffffffffffffffff", .invalidArgument), ("\n\n", .invalidArgument),
                ] {
                    #expect(throws: error, "\(line)") { try mount.store(line, in: queue + "/submit") }
                }
                #expect(throws: Errno.outOfRange) { try mount.store("1000000001", in: queue + "/latency") }
                #expect(try mount.word(queue + "/completed") == "7")
                #expect(try mount.word(queue + "/failed") == "2")
                // The queue looks for more before it rests.
                #expect(try eventually { try mount.word(queue + "/depth") == "0" })
                // What the device touched first is its own, and counted so.
                #expect(try mount.placement("d/b") == [1: 1])
                #expect(try mount.values(mount.control("d/b") + "/faults")["device"] == 1)
                #expect(try mount.word(device + "/mmu/contexts") == "3")
                #expect(try mount.word(device + "/mmu/mapped") == "4")
                try FileManager.default.removeItem(atPath: mount.path + "/buffers/d")
            }
        }

        @Test("poll(2) wakes when a command is done")
        func poll() throws {
            try TestMount.with { mount in
                let client = try Client.pollpri.start(mount.path + "/" + queue + "/results")
                #expect(try client.line() == "ready")
                try mount.store("fence", in: queue + "/submit")
                #expect(try client.finish().succeeded)
            }
        }

        @Test("The device's thread runs on any CPU, whichever ring had it started", .overEachTransport)
        func threads() throws {
            try TestMount.with { mount in
                _ = try mount.makeBuffer("a", size: 1 << 20)
                for _ in 0..<4 { #expect(try mount.execute("fill a 0 1048576 1") == ["ok 1048576"]) }
                let daemon = try #require(mount.daemons().first)
                let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon)/task")
                func cpus(_ task: String) throws -> Int {
                    let status = try procfs("\(daemon)/task/\(task)/status")
                    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") })
                    return line.split(separator: "\t")[1].split(separator: ",").reduce(0) {
                        $0 + UInt32($1, radix: 16)!.nonzeroBitCount
                    }
                }
                let all = try cpus(String(daemon))
                guard all > 1 else { return }
                // One that has ended meanwhile is none.
                let kept = tasks.filter { (try? cpus($0)) == 1 }
                #expect(kept.count == (EachTransport.current == "io_uring" ? all : 0))
            }
        }

        @Test("The example: one buffer, produced, transformed and consumed")
        func pipeline() throws {
            try TestMount.with { mount in
                let outcome = try MountTests.run([Host.products.appending("pipeline").string, mount.path])
                #expect(outcome.succeeded, "\(outcome.errors)")
                let lines = outcome.output.split(separator: "\n")
                #expect(lines.count == 9)
                // What the device touched first is on its node, beside what the program did.
                #expect(lines.allSatisfy { $0.contains(" N0=") }, "\(outcome.output)")
                #expect(lines.last?.contains(" N1=") == true)
            }
        }

        @Test("A touch waits for its invalidation's turn in the queue, others do not")
        func latency() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 4 << 20)
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                defer { try? descriptor.close() }
                #expect(try mount.execute("fill a 0 4096 7") == ["ok 4096"])
                try mount.store("500000000", in: queue + "/latency")
                func seconds(_ body: () throws -> Void) rethrows -> Double {
                    let start = Date()
                    try body()
                    return Date().timeIntervalSince(start)
                }
                var byte: [UInt8] = [0]
                // Around it, and far away. That the machine is slow may be once.
                let invalidations = try mount.word(device + "/mmu/invalidations")
                let isPrompt = try ([[1, 2, 40, 500], [3, 200, 600], [4, 300, 700]] as [[Int64]]).contains { pages in
                    try pages.allSatisfy { page in
                        try seconds {
                            _ = try unsafe byte.withUnsafeMutableBytes {
                                unsafe try descriptor.read(fromAbsoluteOffset: page * 4096, into: $0)
                            }
                        } < 0.4
                    }
                }
                #expect(isPrompt)
                #expect(try mount.word(device + "/mmu/invalidations") == invalidations)
                #expect(
                    try seconds {
                        _ = try unsafe byte.withUnsafeMutableBytes {
                            unsafe try descriptor.read(fromAbsoluteOffset: 0, into: $0)
                        }
                    } >= 0.5)
                #expect(byte == [7])
                #expect(try mount.execute("fill a 0 4096 8") == ["ok 4096"])
                #expect(
                    try seconds {
                        _ = try unsafe [UInt8](repeating: 9, count: 4096).withUnsafeBytes {
                            unsafe try descriptor.writeAll(toAbsoluteOffset: 0, $0)
                        }
                    } >= 0.5)
                try mount.store("0", in: queue + "/latency")
            }
        }
    }
}
