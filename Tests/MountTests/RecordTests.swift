import CLinux
import Foundation
import SystemPackage
import TestSupport
import Testing

extension Mounts {
    /// `cdmfs record` and `cdmfs report`.
    @Suite("Record")
    struct RecordTests {
        /// The rows of a table of a text report, by their first column.
        private func table(_ name: String, in text: String) -> [[String]] {
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            guard let start = lines.firstIndex(of: name[...]) else { return [] }
            return lines[(start + 2)...].prefix { !$0.isEmpty }.map { $0.split(separator: " ").map(String.init) }
        }

        private func report(_ file: String, _ arguments: String...) throws -> String {
            let outcome = try run([Host.cdmfs, "report", file] + arguments)
            #expect(outcome.succeeded && outcome.errors.isEmpty, "\(outcome.errors)")
            return outcome.output
        }

        @Test("What a command did is in the record, and agrees with the counters")
        func command() throws {
            try TestMount.with { mount in
                let file = mount.topologyFile + ".trace"
                let buffer = try mount.makeBuffer("a, b", size: 4 << 20, policy: "bind:1")
                try mount.store("link_state", in: "sys/kernel/cdm/trace/events")
                let pipe = try FileDescriptor.open(
                    FilePath("\(mount.path)/sys/kernel/cdm/trace/trace_pipe"), .readOnly, options: .nonBlocking)
                defer { try? pipe.close() }
                let script =
                    "dd if=/dev/zero 'of=\(buffer)' bs=64k count=16 conv=notrunc 2>/dev/null; "
                    + "echo 0 > '\(mount.path)/sys/kernel/cdm/buffers/a, b/migrate'; "
                    + "cat '\(mount.path)/sys/kernel/cdm/trace/enable'; exit 7"
                let outcome = try run(
                    [Host.cdmfs, "record", "-o", file, "--mount", mount.path, "--", "sh", "-c", script],
                    environment: mount.environment)
                #expect(outcome.ending == .exited(7) && outcome.output == "X\n", "\(outcome)")
                #expect(outcome.errors.contains("(0 lost)"))
                // What was recorded before still is, and nothing else; the reader of it has no event of the recorder's.
                #expect(throws: Errno.resourceTemporarilyUnavailable) {
                    var byte: UInt8 = 0
                    _ = try unsafe withUnsafeMutableBytes(of: &byte) { try unsafe pipe.read(into: $0) }
                }
                let enabled = try mount.text("sys/kernel/cdm/trace/events").split(separator: "\n")
                #expect(enabled.filter { $0.hasPrefix("[") } == ["[link_state]"])

                let text = try report(file, "--format", "text")
                // Memory of the command itself is on node 0.
                #expect(table("touches", in: text).last == ["1", "256", "0", "0"])
                let moves = table("moves", in: text)
                #expect(moves.map { Array($0.prefix(4)) } == [["1", "0", "buffer", "256"]])
                let modelled = try mount.text("sys/class/cdm/cdm0/dma/bytes")
                #expect(modelled == "\(1 << 20)\n")
                #expect(text.contains("\nlost 0\n") && text.contains("\nsamples 2\n"), "\(text)")
                #expect(text.contains("command sh -c dd"))
                #expect(table("buffers", in: text).first?.prefix(2) == ["a,", "b"])

                let csv = try report(file, "--format", "csv").split(separator: "\r\n")
                #expect(csv[0].hasPrefix("time_ns,event,cpu,pid,buffer,offset,length,node,policy"))
                #expect(csv.contains { $0.contains(",touch_placed,") && $0.contains(",\"a, b\",0x0,") })

                let json = try report(file, "--format", "perfetto")
                let object = try #require(
                    JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
                let events = try #require(object["traceEvents"] as? [[String: Any]])
                #expect(events.contains { $0["name"] as? String == "pages_migrated" && $0["ph"] as? String == "X" })
                #expect(events.contains { $0["ph"] as? String == "C" })
                try FileManager.default.removeItem(atPath: file)
            }
        }

        @Test("A page is well-formed whatever names are, and its sums are those of the counters")
        func page() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let file = mount.topologyFile + ".trace"
                let name = "<svg onload=alert(1)>\u{202e}\"'&שלום"
                let buffer = try mount.makeBuffer(name, size: 4 << 20, policy: "bind:1")
                let script = """
                    dd if=/dev/zero "of=$1" bs=64k count=16 conv=notrunc
                    echo 0 > "$0/sys/kernel/cdm/buffers/$2/migrate"; echo 0x0 0x80000 1 > "$0/sys/kernel/cdm/buffers/$2/migrate"
                    truncate -s 768K "$1"; echo down > "$0/sys/class/cdm/cdm0/link/state"
                    """
                let before = try mount.text("sys/kernel/cdm/metrics")
                let outcome = try run(
                    [
                        Host.cdmfs, "record", "-o", file, "--mount", mount.path, "--", "sh", "-c", script, mount.path,
                        buffer,
                        name,
                    ], environment: mount.environment)
                #expect(outcome.succeeded, "\(outcome)")

                let html = try report(file)
                let parsed = Wellformed(html)
                #expect(parsed.error == nil, "\(parsed.error ?? "")")
                #expect(!parsed.attributes.contains { $0.hasPrefix("on") } && !html.contains("\u{202e}"))
                #expect(!html.contains("http:") && !html.contains("https:") && !html.contains("src="))
                #expect(parsed.text.contains("<svg onload=alert(1)>\\u{202E}\"'&שלום"))
                #expect(parsed.text.contains("The sums of the events are what the counters grew by"))

                func rows(_ table: String) throws -> [[Substring]] {
                    try report(file, "--format", "csv", "--table", table).split(separator: "\r\n").dropFirst()
                        .map { $0.split(separator: ",", omittingEmptySubsequences: false) }
                }
                let moves = try rows("moves")
                #expect(
                    moves.map { Array($0.prefix(4)) } == [["0", "1", "buffer", "128"], ["1", "0", "buffer", "256"]])
                let after = try mount.text("sys/kernel/cdm/metrics")
                #expect(!before.contains("cdmfs_migrated_pages_total{"))
                for move in moves {
                    let counter =
                        "cdmfs_migrated_pages_total{from=\"\(move[0])\",to=\"\(move[1])\",reason=\"\(move[2])\"} \(move[3])\n"
                    #expect(after.contains(counter), "\(after)")
                }
                let recovery = try #require(try rows("recovery").first)
                #expect(recovery[1] == "link loss" && recovery[4] == "0" && recovery[5] == "128")
                // Of 256 pages 64 were cut off: those of node 0, which were not lost.
                let track = try #require(try rows("buffers").first { $0[0].contains("svg") })
                #expect(Array(track.suffix(6)) == ["256", "384", "0", "128", "64", "256"])
                try FileManager.default.removeItem(atPath: file)
            }
        }

        @Test("A record that is killed is readable, and so is one of a machine that ends")
        func killed() throws {
            try TestMount.with(checkingLeaks: false, endsItself: true) { mount in
                let file = mount.topologyFile + ".trace"
                let buffer = try mount.makeBuffer("a", size: 4 << 20)
                func start() throws -> Child {
                    try? FileManager.default.removeItem(atPath: file)
                    let child = try Child([
                        Host.cdmfs, "record", "-o", file, "--interval", "0.1", "--mount", mount.path,
                    ])
                    // The header is written when the events are recorded.
                    let hasBegun = eventually { FileManager.default.contents(atPath: file)?.isEmpty == false }
                    #expect(hasBegun)
                    return child
                }
                func touch(_ count: Int) throws {
                    let outcome = try run([
                        "dd", "if=/dev/zero", "of=\(buffer)", "bs=4k", "count=\(count)", "conv=notrunc",
                    ])
                    #expect(outcome.succeeded)
                    _ = try run(["truncate", "-s", "0", buffer])
                    _ = try run(["truncate", "-s", "4M", buffer])
                }
                let first = try start()
                try touch(10)
                let isWritten = eventually {
                    (try? run([Host.cdmfs, "report", file, "--format", "text"]))?.output.contains("touch_placed")
                        == true
                }
                #expect(isWritten)
                #expect(try mount.text("sys/kernel/cdm/trace/enable") == "0\n")
                first.kill(SIGKILL)
                _ = try first.finish()
                let text = try run([Host.cdmfs, "report", file, "--format", "text"]).output
                #expect(table("touches", in: text).first?.dropFirst().first == "10", "\(text)")

                let second = try start()
                try touch(20)
                second.kill(SIGINT)
                let outcome = try second.finish()
                #expect(outcome.succeeded && outcome.errors.contains("cdmfs: recorded "), "\(outcome)")
                #expect(try table("touches", in: report(file, "--format", "text")).first?.dropFirst().first == "20")

                let third = try start()
                try touch(30)
                for daemon in mount.daemons() where daemon != third.pid { kill(daemon, SIGKILL) }
                let ended = try third.finish()
                #expect(ended.ending == .exited(32) && ended.errors.contains("has ended"), "\(ended)")
                #expect(try table("touches", in: report(file, "--format", "text")).first?.dropFirst().first == "30")
                _ = try run([Host.cdmfs, "unmount", mount.path])
                try? FileManager.default.removeItem(atPath: file)
            }
        }

        @Test("A machine made for a record; wrong words and other files are one line")
        func words() throws {
            let folder = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let file = folder + "/t"
            let outcome = try run([
                Host.cdmfs, "record", "-o", file, "--preset", "default", "--", "sh", "-c",
                "truncate -s 1M $CDMFS_MOUNTPOINT/buffers/a && dd if=/dev/zero of=$CDMFS_MOUNTPOINT/buffers/a bs=1M count=1 conv=notrunc 2>/dev/null",
            ])
            #expect(outcome.succeeded, "\(outcome)")
            let text = try report(file, "--format", "text")
            // With what the command's own memory takes.
            let touched = table("touches", in: text).first?.dropFirst().first.flatMap { Int($0) }
            #expect((touched ?? 0) >= 256, "\(text)")
            func refusal(_ words: String...) throws -> (Ending, Int) {
                let outcome = try run([Host.cdmfs] + words)
                return (outcome.ending, outcome.errors.split(separator: "\n").count)
            }
            #expect(try refusal("record", "--mount", "/", "-o", file) == (.exited(32), 1))
            #expect(try refusal("record", "--mount", "/", "--preset", "default") == (.exited(64), 1))
            #expect(try refusal("record", "--interval", "0", "--mount", "/") == (.exited(64), 1))
            #expect(try refusal("record", "-o", folder + "/none/t", "--preset", "default") == (.exited(1), 1))
            #expect(try refusal("report", "/etc/hostname") == (.exited(65), 1))
            #expect(try refusal("report", folder + "/none") == (.exited(66), 1))
            #expect(try refusal("report", file, "--format", "what") == (.exited(64), 1))
            #expect(try refusal("report", file, "--table", "moves") == (.exited(64), 1))
            #expect(try refusal("report", file, "--format", "csv", "--table", "what") == (.exited(64), 1))
            #expect(try refusal("report", file, "-o", folder + "/none/t") == (.exited(1), 1))
            #expect(
                try refusal("report", file, "-o", folder + "/../\(FilePath(folder).lastComponent!.string)/t") == (
                    .exited(64), 1
                ))
            let bytes = try Data(contentsOf: URL(filePath: file))
            try bytes.dropLast(5).write(to: URL(filePath: folder + "/t2"))
            let cut = try run([Host.cdmfs, "report", folder + "/t2", "--format", "text"])
            #expect(cut.succeeded && cut.errors.contains("cut off") && cut.output.contains("touch_placed"))
            let page = try run([Host.cdmfs, "report", folder + "/t2"])
            #expect(page.succeeded && page.errors.contains("cut off") && page.output.contains("cut off or damaged"))
        }
    }
}
