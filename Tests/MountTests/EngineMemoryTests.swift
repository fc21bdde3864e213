import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// A device at work on memory that programs have mapped one way or the other, and what befalls both.
    @Suite("Engine on one memory")
    struct EngineMemoryTests {
        private static let mappings = ["tracked", "direct"]
        private static let device = "sys/class/cdm/cdm0"

        private func make(
            _ mount: TestMount, _ name: String, size: Int, policy: String? = nil, _ mapping: String
        ) throws -> String {
            let file = try mount.makeBuffer(name, size: size, policy: policy)
            try mount.store(mapping, in: mount.control(name) + "/mapping")
            return file
        }

        private func queues(_ mount: TestMount, _ devices: String...) -> [String] {
            devices.map { mount.path + "/" + mount.queue($0) }
        }

        @Test("Stores, loads, atomics and commands of two devices are as in a model", arguments: mappings)
        func model(mapping: String) throws {
            try TestMount.with(Machines.four) { mount in
                let file = try make(mount, "a", size: 1 << 20, mapping)
                let queues = queues(mount, "cdm0", "cdm1")
                try Client.engine(file, "1M", "a", 200, queues[0], queues[1])
                let invalidations = try Int(mount.word(Self.device + "/mmu/invalidations"))!
                #expect(mapping == "direct" || invalidations > 0)
            }
        }

        @Test("The same while the pages move and devices go offline", arguments: mappings)
        func moving(mapping: String) throws {
            try TestMount.with(Machines.four) { mount in
                let file = try make(mount, "a", size: 1 << 20, mapping)
                let queues = queues(mount, "cdm0", "cdm1")
                let client = try Client.engine.start(file, "1M", "a", 200, queues[0], queues[1])
                let migrate = mount.control("a") + "/migrate"
                for device in ["cdm0", "cdm1", "cdm0", "cdm1", "cdm0", "cdm1"] {
                    let (state, node) = ("sys/class/cdm/\(device)/state", device == "cdm0" ? "4" : "5")
                    for (text, file) in [
                        (node, migrate), ("offline", state), ("online", state), ("0", migrate),
                        ("0x1000 0x40000 \(node)", migrate), ("1", migrate),
                    ] {
                        do { try mount.store(text, in: file) } catch Errno.resourceBusy {
                            // Pages of a command under way.
                            if text == "offline" { try? mount.store("online", in: file) }
                        } catch Errno.operationNotSupportedByDevice {
                            // A device that is offline is no target.
                        }
                    }
                }
                let outcome = try client.finish(within: 100)
                #expect(outcome.succeeded, "\(outcome.errors)")
                for device in ["cdm0", "cdm1"] {
                    #expect(try eventually { try mount.word(mount.queue(device) + "/depth") == "0" })
                }
            }
        }

        @Test("No atomic increment is lost to devices that store what is there, while pages move", arguments: mappings)
        func increments(mapping: String) throws {
            try TestMount.with(Machines.four) { mount in
                let file = try make(mount, "a", size: 4 << 20, mapping)
                let client = try Client.increment.start(file, "4M", 2)
                #expect(try client.line() == "ready")
                for round in 0..<20 {
                    let device = round.isMultiple(of: 2) ? "cdm0" : "cdm1"
                    let results = try mount.execute("write a 0 4194304\ncrc32 a 0 65536", on: device)
                    #expect(results.first == "ok 4194304")
                    try mount.store(["0", "4", "5"][round % 3], in: mount.control("a") + "/migrate")
                }
                client.kill(SIGTERM)
                let outcome = try client.finish()
                #expect(outcome.succeeded, "\(outcome.ending) \(outcome.output) \(outcome.errors)")
                #expect(outcome["counted"] == outcome["found"])
            }
        }

        @Test("The device file: what a program stores the device reads, and the other way round")
        func deviceFile() throws {
            try TestMount.with(Machines.make(device: "64M")) { mount in
                try mount.store("direct", in: Self.device + "/buffer/mapping")
                try Client.engine(mount.path + "/dev/cdm0", "1M", "dev/cdm0", 100, queues(mount, "cdm0")[0])
                // Exclusive access nobody could take back.
                #expect(try mount.execute("exclusive dev/cdm0 0 4096\nfence") == ["EOPNOTSUPP 0", "ok 0"])
                try mount.store("tracked", in: Self.device + "/buffer/mapping")
                #expect(try mount.execute("exclusive dev/cdm0 0 4096") == ["ok 4096"])
            }
        }

        @Test("Poison is EIO at its page, and the queue goes on", arguments: mappings)
        func poison(mapping: String) throws {
            try TestMount.with { mount in
                let file = try make(mount, "a", size: 16 * 4096, policy: "bind:1", mapping)
                #expect(try mount.execute("fill a 0 65536 7") == ["ok 65536"])
                try mount.store("0x5000", in: mount.control("a") + "/poison")
                #expect(
                    try mount.execute("fill a 0 65536 8\nread a 20480 1\ncrc32 a 0 65536\nfill a 24576 4096 9\nfence")
                        == ["EIO 20480", "EIO 0", "EIO 0", "ok 4096", "ok 0"])
                let bytes = try FileHandle(forReadingFrom: URL(fileURLWithPath: file)).read(upToCount: 20480) ?? Data()
                #expect(bytes.count == 20480 && bytes.allSatisfy { $0 == 8 })
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                #expect(fallocate(descriptor.rawValue, mode, 5 * 4096, 4096) == 0)
                try descriptor.close()
                #expect(try mount.execute("fill a 0 65536 1") == ["ok 65536"])
                for address in try mount.text(TestMount.debug + "/poison_list").split(separator: "\n") {
                    try mount.store(
                        String(address.split(separator: " ")[0]), in: TestMount.debug + "/clear_poison")
                }
            }
        }

        @Test("Memory lost with another device's link is EIO, and the queue goes on", arguments: mappings)
        func lost(mapping: String) throws {
            try TestMount.with(Machines.four, checkingLeaks: false) { mount in
                _ = try make(mount, "a", size: 16 * 4096, policy: "bind:5", mapping)
                #expect(try mount.execute("fill a 0 65536 7") == ["ok 65536"])
                try mount.store("down", in: "sys/class/cdm/cdm1/link/state")
                #expect(try mount.execute("crc32 a 0 65536\nfill a 4096 1 1\nfence") == ["EIO 0", "EIO 0", "ok 0"])
                #expect(try mount.word(Self.device + "/mmu/mapped") == "0")
            }
        }

        @Test(
            "A device whose link is cut fails its commands at once, those that wait, too: ENODEV", arguments: mappings)
        func cut(mapping: String) throws {
            try TestMount.with(checkingLeaks: false) { mount in
                _ = try make(mount, "a", size: 64 << 20, policy: "bind:0", mapping)
                try mount.store("online", in: "sys/devices/system/memory/auto_online_blocks")
                #expect(try mount.execute("fill a 0 67108864 7") == ["ok 67108864"])
                let submit = try FileDescriptor.open(
                    FilePath(mount.path + "/" + mount.queue() + "/submit"), .writeOnly)
                try mount.store(
                    Array(repeating: "crc32 a 0 67108864", count: 60).joined(separator: "\n"),
                    in: mount.queue() + "/submit")
                try mount.store("down", in: Self.device + "/link/state")
                #expect(throws: Errno.operationNotSupportedByDevice) {
                    try submit.closeAfter { try submit.writeAll("fence\n".utf8) }
                }
                try mount.store("up", in: Self.device + "/link/state")
                try mount.store("1", in: "sys/class/cdm/rescan")
                #expect(try eventually(within: 20) { try mount.word(mount.queue() + "/depth") == "0" })
                #expect(try mount.results().last == "ENODEV 0")
                #expect(try mount.execute("read a 0 4096") == ["ok 4096"])
            }
        }

        @Test("Pages of the command under way do not move, and do so when it is over", arguments: mappings)
        func pins(mapping: String) throws {
            try TestMount.with { mount in
                _ = try make(mount, "a", size: 64 << 20, policy: "bind:1", mapping)
                #expect(try mount.execute("fill a 0 67108864 7") == ["ok 67108864"])
                try mount.store(
                    Array(repeating: "crc32 a 0 67108864", count: 8).joined(separator: "\n"),
                    in: mount.queue() + "/submit")
                // Refused while the pages are at work, unless that is over by then.
                let moved = try eventually(within: 60) {
                    do {
                        try mount.store("0", in: mount.control("a") + "/migrate")
                        return true
                    } catch Errno.resourceBusy {
                        return false
                    }
                }
                #expect(moved)
                #expect(try mount.placement("a") == [0: 16384])
                #expect(try eventually(within: 20) { try mount.word(mount.queue() + "/depth") == "0" })
                let results = try mount.results()
                #expect(results.count == 9 && Set(results.dropFirst()).count == 1 && results[1].hasPrefix("ok "))
                try mount.store("offline", in: Self.device + "/state")
                try mount.store("online", in: Self.device + "/state")
            }
        }

        @Test("A restricted node is for the commands of those that may use it: EPERM")
        func isolation() throws {
            try TestMount.with { mount in
                _ = try mount.makeBuffer("a", size: 16 * 4096, policy: "bind:1")
                let file = "sys/devices/system/node/node1/cdm/isolation"
                try mount.store("restricted", in: file)
                #expect(try mount.execute("write a 0 4096\nfence") == ["EPERM 0", "ok 0"])
                let device = try FileDescriptor.open(FilePath(mount.path + "/dev/cdm0"), .readOnly)
                #expect(try mount.execute("write a 0 4096") == ["ok 4096"])
                try device.close()
                try mount.store("exclusive", in: file)
            }
        }

        @Test("A migration that waits for a device can be interrupted, by its writer and by `cancel`")
        func interrupted() throws {
            try TestMount.with { mount in
                _ = try mount.makeBuffer("a", size: 16 * 4096, policy: "bind:0")
                for isKilled in [true, false] {
                    // On a machine that is slow the device may be faster, but not every time.
                    #expect(try (0..<5).contains { _ in try isInterrupted(mount, byKilling: isKilled) })
                }
            }
        }

        /// Interrupts a migration that waits for a device; whether it ended so, and before the device had let go.
        private func isInterrupted(_ mount: TestMount, byKilling isKilled: Bool) throws -> Bool {
            let migrate = mount.control("a") + "/migrate"
            #expect(try mount.execute("fill a 0 65536 7") == ["ok 65536"])
            try mount.store("1000000000", in: mount.queue() + "/latency")
            let writer = try Child(["bash", "-c", "echo ready; echo 1 > \(mount.path)/\(migrate)"])
            #expect(try writer.line() == "ready")
            let isRunning = try eventually(within: 3) { try mount.word(migrate).hasPrefix("state=running") }
            if isKilled { writer.kill(SIGKILL) } else { try mount.store("cancel", in: migrate) }
            let outcome = try writer.finish()
            let isCancelled = try eventually(within: 3) {
                try mount.word(migrate).hasPrefix("state=cancelled moved=0")
            }
            let isWaiting = try mount.word(mount.queue() + "/depth") != "0"
            try mount.store("0", in: mount.queue() + "/latency")
            try mount.store("1", in: migrate)
            try mount.store("0", in: migrate)
            return isRunning && isCancelled && isWaiting
                && (isKilled ? outcome.ending == .killed(SIGKILL) : outcome.errors.contains("Interrupted"))
        }
    }
}
