import CLinux
import Foundation
import MachineTopology
import SystemPackage
import Testing

extension Mounts {
    /// The link of a device is cut under the programs that use it.
    @Suite("Link loss")
    struct LinkLossTests {
        private static let device = "sys/class/cdm/cdm0"

        @Test("Its pages are lost at once, others are not, and after a rescan there is new memory")
        func cut() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let size = 64 * 4096
                let file = try mount.makeBuffer("a", size: size, policy: "bind:1")
                let touchers = try ["store", "load"].map { try Toucher($0, file, size: size) }
                #expect(try touchers[1].touch() == .init())
                try mount.store("0 0x8000 0", in: mount.control("a") + "/migrate")
                let open = try FileDescriptor.open(FilePath(mount.path + "/" + Self.device + "/state"), .readOnly)
                let old = try Toucher("store", mount.path + "/dev/cdm0", size: size)
                let events = try UeventReader(mount)

                try mount.store("down", in: "\(Self.device)/link/state")
                #expect(try mount.word("\(Self.device)/link/state") == "down")
                for toucher in touchers { #expect(try toucher.touch() == .init(bad: Array(8..<64), code: 2)) }
                #expect(try old.touch() == .init(bad: Array(0..<64), code: 2))
                #expect(try mount.pages("a", "lost") == Array(8..<64))
                #expect(throws: Errno.ioError) { try mount.read(file, page: 8) }
                #expect(try mount.read(file, page: 7, count: 8192) == 4096)
                #expect(throws: Errno.operationNotSupportedByDevice) {
                    _ = try unsafe [UInt8](unsafeUninitializedCapacity: 64) { buffer, count in
                        count = try unsafe open.read(into: UnsafeMutableRawBufferPointer(buffer))
                    }
                }
                try open.close()
                #expect(throws: Errno.operationNotSupportedByDevice) {
                    try mount.read(mount.path + "/dev/cdm0", page: 0)
                }
                #expect(throws: Errno.operationNotSupportedByDevice) {
                    try mount.store("1", in: mount.control("a") + "/migrate")
                }
                #expect(try mount.word("sys/devices/system/node/online") == "0")
                #expect(try mount.word("sys/devices/system/node/has_memory") == "0")
                #expect(Set(try mount.names(in: Self.device)) == ["link", "ras"])
                #expect(try mount.names(in: "sys/kernel/debug/cdm").isEmpty)
                let told = try events.events()
                #expect(told.contains { $0.summary == "remove@/devices/system/node/node1" })
                #expect(told.contains { $0["CDM_EVENT"] == "link_down" && $0["DEVPATH"] == "/class/cdm/cdm0" })
                #expect(told.contains { $0["CDM_EVENT"] == "lost" && $0["BUFFER"] == "a" })

                try mount.store("1", in: "sys/class/cdm/rescan")
                #expect(try mount.word("sys/devices/system/node/online") == "0")
                try mount.store("up", in: "\(Self.device)/link/state")
                try mount.store("online", in: "sys/devices/system/memory/auto_online_blocks")
                try mount.store("1", in: "sys/class/cdm/rescan")
                #expect(try mount.word("sys/devices/system/node/has_memory") == "0-1")
                #expect(try mount.word("\(Self.device)/state") == "online")
                for toucher in touchers { #expect(try toucher.touch().bad == Array(8..<64)) }
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                #expect(fallocate(descriptor.rawValue, mode, 8 * 4096, 56 * 4096) == 0)
                try descriptor.close()
                for toucher in touchers { #expect(try toucher.touch().zero == Array(8..<64)) }
                let new = try Toucher("keep", mount.path + "/dev/cdm0", size: size)
                #expect(try new.touch().zero == Array(0..<64))
                #expect(try old.touch().bad == Array(0..<64))
                for toucher in touchers + [old, new] { #expect(try toucher.end().succeeded) }
            }
        }

        @Test(
            "The policy of the device decides what becomes of who maps lost memory", arguments: ["sigbus", "sigkill"])
        func policy(word: String) throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let size = 16 * 4096
                let lost = try mount.makeBuffer("a", size: size, policy: "bind:1")
                let safe = try mount.makeBuffer("b", size: size, policy: "bind:0")
                let bystander = try Toucher("store", safe, size: size)
                let mapper = try Client.increment.start(lost, "\(size)", 1)
                #expect(try mapper.line() == "ready")
                try mount.store(word, in: "\(Self.device)/link/on_loss")
                try mount.store("down", in: "\(Self.device)/link/state")
                #expect(try mapper.finish().ending == .killed(word == "sigbus" ? SIGBUS : SIGKILL))
                #expect(try bystander.touch() == .init())
                #expect(try bystander.end().succeeded)
            }
        }

        @Test("An error of the link is counted, and reads wait until it is retrained")
        func retraining() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 4096, policy: "bind:1")
                try mount.store("100000000", in: "\(Self.device)/link/retrain")
                let start = ContinuousClock.now
                try mount.store("3", in: "\(TestMount.debug)/inject_link_error")
                // Opened to be written to, so that the read is a touch.
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                var page = [UInt8](repeating: 1, count: 4096)
                let count = unsafe try descriptor.closeAfter {
                    unsafe try page.withUnsafeMutableBytes { unsafe try descriptor.read(into: $0) }
                }
                #expect(count == 4096)
                #expect(ContinuousClock.now - start > .milliseconds(250))
                #expect(try mount.word("\(Self.device)/ras/link_errors") == "3")
                #expect(try mount.word("\(Self.device)/link/stalled_ns") == "300000000")
                #expect(throws: Errno.outOfRange) { try mount.store("0", in: "\(TestMount.debug)/inject_link_error") }
            }
        }
    }
}
