import CLinux
import Foundation
import SystemPackage
import Testing

private let trace = "sys/kernel/cdm/trace"

extension Mounts {
    /// sys/kernel/cdm/trace for real clients.
    @Suite("Trace", .overEachTransport)
    struct TraceTests {
        /// The fields of a line of trace_pipe, with its event as `event` and its thread as `pid`.
        private func fields(_ line: some StringProtocol) throws -> [String: String] {
            let match = try #require(
                String(line).wholeMatch(of: /\ +<\.\.\.>-(\d+) +\[(\d+)\] \.{5} +\d+\.\d{6}: (\w+):(.*)/), "\(line)")
            var fields = ["event": String(match.3), "pid": String(match.1)]
            for field in match.4.split(separator: " ") {
                let pair = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                try #require(pair.count == 2, "\(line)")
                fields[String(pair[0])] = String(pair[1])
            }
            return fields
        }

        private func open(_ mount: TestMount) throws -> FileDescriptor {
            try FileDescriptor.open(FilePath("\(mount.path)/\(trace)/trace_pipe"), .readOnly, options: .nonBlocking)
        }

        private func lines(_ descriptor: FileDescriptor) throws -> [String] {
            var text = ""
            while true {
                do {
                    let bytes = try unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
                        count = try unsafe descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))
                    }
                    text += String(decoding: bytes, as: UTF8.self)
                } catch Errno.resourceTemporarilyUnavailable {
                    return text.split(separator: "\n").map(String.init)
                }
            }
        }

        @Test("A program's touches and a migration, as they happened")
        func events() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a b", size: 1 << 20, policy: "bind:1")
                try mount.store("1", in: "\(trace)/enable")
                let pipe = try open(mount)
                defer { try? pipe.close() }
                let child = try Child([
                    "python3", "-c",
                    "import mmap, os; f = os.open('\(file)', os.O_RDWR); m = mmap.mmap(f, 1 << 20); m[0x3000] = 1; m[0x80000] = 1; print(os.getpid())",
                ])
                let outcome = try child.finish()
                #expect(outcome.succeeded, "\(outcome.errors)")
                let pid = outcome.output.split(separator: "\n").first.map(String.init)
                let touches = try lines(pipe).map { try fields($0) }.filter { $0["event"] == "touch_placed" }
                #expect(!touches.isEmpty)
                #expect(
                    touches.allSatisfy {
                        $0["pid"] == pid && $0["buffer"] == "a\\040b" && $0["node"] == "1" && $0["policy"] == "bind"
                            && $0["by"] == "cpu"
                    }, "\(touches)")
                let length = touches.reduce(0) { $0 + (Int(($1["length"] ?? "").dropFirst(2), radix: 16) ?? 0) }
                let counters = try mount.text("sys/kernel/cdm/buffers/a b/faults").split(separator: "\n")
                #expect(counters.contains("cpu \(length / 4096)"))
                try mount.store("0", in: "sys/kernel/cdm/buffers/a b/migrate")
                let moves = try lines(pipe).map { try fields($0) }.filter { $0["event"] == "pages_migrated" }
                #expect(moves.allSatisfy { $0["from"] == "1" && $0["to"] == "0" && $0["reason"] == "buffer" })
                let moved = moves.reduce(0) { $0 + (Int(($1["length"] ?? "").dropFirst(2), radix: 16) ?? 0) }
                #expect(moved == length)
                try mount.store("0", in: "\(trace)/enable")
            }
        }

        @Test("A read waits, poll wakes, a signal ends the wait, and a reader that is killed harms nobody")
        func waiting() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 1 << 20)
                try mount.store("touch_placed", in: "\(trace)/events")
                let pipe = try open(mount)
                defer { try? pipe.close() }
                let path = "\(mount.path)/\(trace)/trace_pipe"
                let line = try Child(["head", "-n", "1", path])
                let cats = try (0..<3).map { _ in try Child(["cat", path]) }
                for child in [line] + cats {
                    let isOpen = eventually {
                        let folder = "/proc/\(child.pid)/fd"
                        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
                        return files.contains { FilePath(resolving: "\(folder)/\($0)").lastComponent == "trace_pipe" }
                    }
                    try #require(isOpen)
                }
                var entry = pollfd(fd: pipe.rawValue, events: Int16(POLLIN), revents: 0)
                #expect(unsafe poll(&entry, 1, 0) == 0)
                cats[0].kill(SIGKILL)
                #expect(try cats[0].finish().ending == .killed(SIGKILL))
                // Who waits goes on to do so while nothing is recorded.
                try mount.store("0", in: "\(trace)/enable")
                try mount.store("touch_placed", in: "\(trace)/events")
                let touch = DispatchWorkItem {
                    _ = try? run(["dd", "if=/dev/zero", "of=\(file)", "bs=4k", "count=1", "conv=notrunc"])
                }
                DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(100), execute: touch)
                #expect(unsafe poll(&entry, 1, 10_000) == 1 && entry.revents & Int16(POLLIN) != 0)
                touch.wait()
                let outcome = try line.finish()
                #expect(outcome.succeeded)
                let event = try fields(outcome.output.dropLast())
                #expect(event["event"] == "touch_placed" && event["buffer"] == "a" && event["offset"] == "0x0")
                cats[1].kill(SIGINT)
                #expect(try cats[1].finish().ending == .killed(SIGINT))
                #expect(try fields(cats[2].line())["buffer"] == "a")
                cats[2].kill(SIGKILL)
                #expect(try cats[2].finish().ending == .killed(SIGKILL))
                #expect(try lines(pipe).count == 1)
                #expect(try lines(pipe).isEmpty)
                #expect(throws: Errno.permissionDenied) { try FileDescriptor.open(FilePath(path), .readWrite).close() }
            }
        }

        @Test("A flood through small buffers: what is read and what is lost add up")
        func flood() throws {
            try TestMount.with { mount in
                try mount.store("4", in: "\(trace)/buffer_size_kb")
                try mount.store("touch_placed", in: "\(trace)/events")
                let file = try mount.makeBuffer("a", size: 8 << 20)
                let pipe = try open(mount)
                defer { try? pipe.close() }
                // One page at a time: an event each.
                let outcome = try run([
                    "python3", "-c",
                    "import os; f = os.open('\(file)', os.O_RDWR)\nfor n in range(2048): os.pwrite(f, b'x', n * 4096)",
                ])
                #expect(outcome.succeeded, "\(outcome.errors)")
                var (lost, had) = (0, 0)
                for line in try lines(pipe) {
                    if let match = line.wholeMatch(of: /CPU:\d+ \[LOST (\d+) EVENTS\]/) {
                        lost += Int(match.1) ?? 0
                    } else {
                        #expect(try fields(line)["length"] == "0x1000")
                        had += 1
                    }
                }
                #expect(lost > 0 && lost + had == 2048, "\(lost) \(had)")
                try mount.store("0", in: "\(trace)/enable")
            }
        }

        @Test("The files are root's alone; whoever gets an open one reads no path that its opener may not see")
        func privacy() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                #expect(try mount.entry(trace).permissions == 0o700)
                for name in ["events", "enable", "filter", "buffer_size_kb", "clock"] {
                    #expect(try mount.entry("\(trace)/\(name)").permissions == 0o640, "\(name)")
                }
                #expect(try mount.entry("\(trace)/trace_pipe").permissions == 0o440)
                try mount.letOthersIn()
                func as1234(_ script: String) throws -> Outcome {
                    try run(["setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "sh", "-c", script])
                }
                let path = "\(mount.path)/\(trace)"
                #expect(try !as1234("cat \(path)/enable").succeeded)
                #expect(try !as1234("echo 1 > \(path)/enable").succeeded)
                // Root lets somebody in, who may not list where the buffer is.
                try check(unsafe mkdir(mount.path + "/buffers/secret", 0o700))
                let file = try mount.makeBuffer("secret/a", size: 4096)
                try check(unsafe chmod(path, 0o755))
                try check(unsafe chmod(path + "/trace_pipe", 0o444))
                try mount.store("touch_placed", in: "\(trace)/events")
                let reader = try Child([
                    "setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "head", "-n", "1",
                    path + "/trace_pipe",
                ])
                let outcome = try run(["dd", "if=/dev/zero", "of=\(file)", "bs=4k", "count=1", "conv=notrunc"])
                #expect(outcome.succeeded)
                let line = try reader.finish()
                let event = try fields(line.output.dropLast())
                let inode = try FileManager.default.attributesOfItem(atPath: file)[.systemFileNumber] as? Int
                #expect(event["buffer"] == "inode:\(inode ?? 0)", "\(line)")
            }
        }
    }
}
