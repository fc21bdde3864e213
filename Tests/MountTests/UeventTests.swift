import CLinux
import Foundation
import SystemPackage
import Testing

private let memory = "sys/devices/system/memory"

extension Mounts {
    /// sys/kernel/cdm/uevents tells everything once, in order, to all.
    @Suite("Events", .overEachTransport)
    struct UeventTests {
        private let stream = "sys/kernel/cdm/uevents"

        @Test("The text of an event, and each open starts at now")
        func text() throws {
            try TestMount.with { mount in
                let first = try UeventReader(mount)
                #expect(try first.read() == nil)
                #expect(!first.isReadable(within: 0))
                try mount.store("offline", in: "\(memory)/memory16/state")
                let second = try UeventReader(mount)
                try mount.store("1", in: "\(memory)/memory16/online")
                func event(_ action: String, _ number: Int) -> String {
                    "ACTION=\(action)\nDEVPATH=/devices/system/memory/memory16\nSUBSYSTEM=memory\nSEQNUM=\(number)\n\n"
                }
                #expect(first.isReadable(within: 0))
                #expect(try first.read() == event("offline", 1) + event("online", 2))
                #expect(try second.read() == event("online", 2))
                #expect(try first.read() == nil)
                // What changes nothing is no event.
                try mount.store("1", in: "\(memory)/memory16/online")
                #expect(throws: Errno.invalidArgument) { try mount.store("online", in: "\(memory)/memory16/state") }
                #expect(try first.read() == nil)
                #expect(try second.read() == nil)
            }
        }

        @Test("A read too small for an event gets it in pieces, a larger one whole events")
        func sizes() throws {
            try TestMount.with { mount in
                let reader = try UeventReader(mount)
                let bytewise = try UeventReader(mount)
                for word in ["offline", "online"] { try mount.store(word, in: "\(memory)/memory16/state") }
                let events = [try reader.read(100), try reader.read(100), try reader.read(100)]
                #expect(events[0]?.hasSuffix("SEQNUM=1\n\n") == true && events[1]?.hasSuffix("SEQNUM=2\n\n") == true)
                #expect(events[2] == nil)
                var text = ""
                while let byte = try bytewise.read(1) { text += byte }
                #expect(text == events.compactMap(\.self).joined())
            }
        }

        @Test("Devices and buffers")
        func devicesAndBuffers() throws {
            try TestMount.with(Machines.make(device: "32M")) { mount in
                let reader = try UeventReader(mount)
                for word in ["offline", "online"] { try mount.store(word, in: "sys/class/cdm/cdm0/state") }
                let changes = try reader.events()
                let device = "change@/class/cdm/cdm0"
                #expect(
                    changes.map(\.summary) == [
                        device, "offline@/devices/system/memory/memory17", "offline@/devices/system/memory/memory16",
                        device, device, "online@/devices/system/memory/memory16",
                        "online@/devices/system/memory/memory17", device,
                    ])
                #expect(
                    changes.compactMap { $0["STATE"] } == [
                        "offline_in_progress", "offline", "online_in_progress", "online",
                    ])
                let buffers = mount.path + "/buffers"
                try mount.makeBuffer("a", size: 4096)
                try mount.makeBuffer("b", size: 4096)
                #expect(unsafe mkdir(buffers + "/d", 0o755) == 0)
                #expect(unsafe rename(buffers + "/a", buffers + "/d/x\ny") == 0)
                #expect(unsafe rename(buffers + "/b", buffers + "/d/x\ny") == 0)
                #expect(unsafe unlink(buffers + "/d/x\ny") == 0)
                #expect(unsafe rmdir(buffers + "/d") == 0)
                let events = try reader.events()
                let root = "/kernel/cdm/buffers"
                #expect(
                    events.map(\.summary) == [
                        "add@\(root)/a", "add@\(root)/b", "add@\(root)/d", "move@\(root)/d/x\\012y",
                        "remove@\(root)/d/x\\012y", "move@\(root)/d/x\\012y", "remove@\(root)/d/x\\012y",
                        "remove@\(root)/d",
                    ])
                #expect(events.compactMap { $0["DEVPATH_OLD"] } == ["\(root)/a", "\(root)/b"])
                #expect(events.allSatisfy { $0["SUBSYSTEM"] == "cdm" })
                #expect((changes + events).compactMap(\.sequence) == Array(1...16))
            }
        }

        @Test("A block that could not go offline was never gone")
        func failure() throws {
            try TestMount.with { mount in
                let reader = try UeventReader(mount)
                try mount.makeBuffer("wall", size: 0, policy: "bind:1")
                try mount.fill(mount.path + "/buffers/wall")
                try mount.fill(mount.path + "/buffers/wall0")
                _ = try reader.events()
                #expect(throws: Errno.resourceBusy) { try mount.store("offline", in: "\(memory)/memory16/state") }
                #expect(try mount.text("\(memory)/memory16/state") == "online\n")
                #expect(try reader.events() == [])
            }
        }

        @Test("A read waits, poll wakes, and a signal ends the wait")
        func waiting() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let reader = try UeventReader(mount)
                let line = try Child(["head", "-n", "1", mount.path + "/" + stream])
                let cat = try Child(["cat", mount.path + "/" + stream])
                for child in [line, cat] {
                    let isOpen = eventually {
                        let folder = "/proc/\(child.pid)/fd"
                        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
                        return files.contains { FilePath(resolving: "\(folder)/\($0)").lastComponent == "uevents" }
                    }
                    try #require(isOpen)
                }
                let change = DispatchWorkItem { try? mount.store("offline", in: "\(memory)/memory16/state") }
                DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(100), execute: change)
                #expect(reader.isReadable(within: 10000))
                change.wait()
                let outcome = try line.finish()
                #expect(outcome.succeeded && outcome.output == "ACTION=offline\n", "\(outcome)")
                cat.kill(SIGINT)
                #expect(try cat.finish().ending == .killed(SIGINT))
                #expect(try reader.events().map(\.summary) == ["offline@/devices/system/memory/memory16"])
            }
        }

        @Test("A slow reader loses the oldest and is told how many")
        func slow() throws {
            try TestMount.with { mount in
                let slow = try UeventReader(mount)
                let quick = try UeventReader(mount)
                var seen: [UeventReader.Event] = []
                for number in 1...1100 {
                    try mount.store("change", in: "\(memory)/memory0/uevent")
                    if number % 500 == 0 { seen += try quick.events() }
                }
                seen += try quick.events()
                #expect(seen.compactMap(\.sequence) == Array(1...1100))
                #expect(seen[0]["SYNTH_UUID"] == "0")
                let rest = try slow.events()
                #expect(rest[0] == ["ACTION": "lost", "COUNT": "76"])
                #expect(rest.dropFirst().compactMap(\.sequence) == Array(77...1100))
            }
        }

        @Test("Several who change and several who read: each reads all, in one order")
        func several() throws {
            try TestMount.with { mount in
                let readers = try (0..<3).map { _ in try UeventReader(mount) }
                DispatchQueue.concurrentPerform(iterations: 4) { worker in
                    for round in 0..<20 {
                        // Two for each block: one of them may be late, which is an error and no event.
                        try? mount.store(
                            round % 2 == 0 ? "offline" : "online", in: "\(memory)/memory\(20 + worker / 2)/state")
                        try? FileDescriptor.open(
                            FilePath("\(mount.path)/buffers/\(worker)"), .readWrite, options: .create,
                            permissions: .ownerReadWrite
                        ).close()
                        _ = unsafe unlink("\(mount.path)/buffers/\(worker)")
                    }
                }
                let all = try readers.map { try $0.events() }
                #expect(all[0].compactMap(\.sequence) == Array(1...all[0].count))
                #expect(all[1] == all[0] && all[2] == all[0])
                for (path, events) in Dictionary(grouping: all[0], by: { $0["DEVPATH"] ?? "" }) {
                    let actions = events.compactMap { $0["ACTION"] }
                    let first = path.contains("memory") ? ["offline", "online"] : ["add", "remove"]
                    #expect(actions == actions.indices.map { first[$0 % 2] }, "\(path)")
                    #expect(path.contains("memory") || actions.count == 40)
                }
            }
        }

        @Test("Malformed synthetic events")
        func synthetic() throws {
            try TestMount.with { mount in
                let reader = try UeventReader(mount)
                let file = "\(memory)/memory0/uevent"
                #expect(try mount.entry(file).permissions == 0o644)
                #expect(try mount.text(file) == "")
                let uuid = "fe4d7c9d-b8c6-4a70-9ef1-3d8a58d18eed"
                for text in ["", "changed", "change ", "change x", "change \(uuid) A", "change \(uuid) A=.", "Change"] {
                    #expect(throws: Errno.invalidArgument, "\(text)") { try mount.store(text, in: file) }
                }
                #expect(try reader.events() == [])
                try mount.store("add \(uuid) A=1 B=c", in: file)
                let event = try #require(try reader.events().first)
                #expect(event["ACTION"] == "add" && event["SYNTH_UUID"] == uuid)
                #expect(event["SYNTH_ARG_A"] == "1" && event["SYNTH_ARG_B"] == "c")
                #expect(throws: Errno.permissionDenied) {
                    try FileDescriptor.open(FilePath(mount.path + "/" + stream), .readWrite).close()
                }
            }
        }
    }
}
