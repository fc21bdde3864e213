import CLinux
import Foundation
import SystemPackage
import Testing

private func block(_ number: Int, _ file: String = "state") -> String {
    "sys/devices/system/memory/memory\(number)/\(file)"
}

extension Mounts {
    /// Memory blocks and devices go offline and come back under the data.
    @Suite("Offline and online")
    struct OnlineTests {
        private let blockKilobytes = Machines.blockSize >> 10
        private let state = "sys/class/cdm/cdm0/state"

        @Test("Offlining a block drains it")
        func draining() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 16 << 20, policy: "bind:1")
                try Client.pattern("store", file, 0, "16M", 6)
                let total = try mount.meminfo(1)["MemTotal"]!
                let blocks = try mount.blocks(of: "a")
                for (index, number) in blocks.enumerated() {
                    try mount.store("offline", in: block(number))
                    #expect(try mount.text(block(number)) == "offline\n")
                    #expect(try mount.text(block(number, "online")) == "0\n")
                    #expect(try mount.meminfo(1)["MemTotal"] == total - (index + 1) * blockKilobytes)
                    #expect(try !mount.blocks(of: "a").contains(number))
                    // The same node comes first.
                    #expect(try mount.placement("a") == [1: 4096])
                    try Client.pattern("verify", file, 0, "16M", 6)
                }
                for number in blocks { try mount.store("online", in: block(number)) }
                #expect(try mount.meminfo(1)["MemTotal"] == total)
                try Client.pattern("verify", file, 0, "16M", 6)
            }
        }

        @Test("The texts of state and online, and their errors")
        func texts() throws {
            try TestMount.with { mount in
                try mount.makeBuffer("a", size: 4096, policy: "bind:1")
                try mount.fill(mount.path + "/buffers/a", limit: 4096)
                let number = try mount.blocks(of: "a")[0]
                #expect(throws: Errno.invalidArgument) { try mount.store("online", in: block(number)) }
                try mount.store("1", in: block(number, "online"))
                try mount.store("0", in: block(number, "online"))
                #expect(try mount.text(block(number)) == "offline\n")
                #expect(throws: Errno.invalidArgument) { try mount.store("offline", in: block(number)) }
                try mount.store("0", in: block(number, "online"))
                #expect(throws: Errno.invalidArgument) { try mount.store("gone", in: block(number)) }
                #expect(throws: Errno.invalidArgument) { try mount.store("2", in: block(number, "online")) }
                #expect(try mount.text(block(number)) == "offline\n")
                try mount.store("online_movable", in: block(number))
                #expect(try mount.text(block(number)) == "online\n")
                #expect(try mount.text(block(number, "valid_zones")) == "Movable\n")
            }
        }

        @Test("A whole device goes offline and comes back")
        func device() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 16 << 20, policy: "prefer:1")
                try Client.pattern("store", file, 0, "16M", 6)
                try mount.store("offline", in: state)
                #expect(try mount.text(state) == "offline\n")
                #expect(try mount.placement("a") == [0: 4096])
                #expect(try mount.text("sys/devices/system/node/has_memory") == "0\n")
                try Client.pattern("verify", file, 0, "16M", 6)
                #expect(throws: Errno(rawValue: ENODEV)) { try mount.store("1", in: mount.control("a") + "/migrate") }
                #expect(try Client.sigbus("store", mount.path + "/dev/cdm0", 0, "1M")["failed"] == 256)
                try mount.store("online", in: state)
                #expect(try mount.text(state) == "online\n")
                #expect(try mount.text("sys/devices/system/node/has_memory") == "0-1\n")
                #expect(try mount.meminfo(1)["MemTotal"] == Machines.nodeSize / 1024)
                #expect(try Client.sigbus("store", mount.path + "/dev/cdm0", 0, "1M")["failed"] == 0)
                try mount.store("1", in: mount.control("a") + "/migrate")
                try Client.pattern("verify", file, 0, "16M", 6)
                #expect(throws: Errno.invalidArgument) { try mount.store("sideways", in: state) }
            }
        }

        @Test("Where there is no room, the block stays online with its data")
        func noRoom() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 16 << 20, policy: "bind:1")
                try Client.pattern("store", file, 0, "16M", 6)
                try mount.makeBuffer("wall", size: 0, policy: "bind:1")
                try mount.fill(mount.path + "/buffers/wall")
                try mount.fill(mount.path + "/buffers/wall0")
                let number = try mount.blocks(of: "a")[0]
                do {
                    try mount.store("offline", in: block(number))
                    Issue.record("a full machine gave up a block")
                } catch let error as Errno {
                    #expect([.resourceBusy, .noMemory].contains(error), "\(error)")
                }
                #expect(try mount.text(block(number)) == "online\n")
                #expect(try mount.meminfo(1)["MemTotal"] == Machines.nodeSize / 1024)
                try Client.pattern("verify", file, 0, "16M", 6)
            }
        }

        @Test("A block of the RAM node drains, too")
        func ram() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 16 << 20)
                try Client.pattern("store", file, 0, "16M", 6)
                let number = try #require(try mount.blocks(of: "a").last)
                do {
                    try mount.store("offline", in: block(number))
                    #expect(try mount.placement("a") == [0: 4096])
                    try mount.store("online", in: block(number))
                } catch Errno.resourceBusy {
                    // ZONE_NORMAL may hold what cannot move.
                }
                try Client.pattern("verify", file, 0, "16M", 6)
            }
        }

        @Test("Blocks that begin offline come online")
        func hotAdd() throws {
            try TestMount.with(Machines.make(online: false), checkingLeaks: false) { mount in
                #expect(try Client.sigbus("store", mount.path + "/dev/cdm0", 0, "64K")["failed"] == 16)
                try mount.store("online", in: state)
                #expect(try mount.text("sys/devices/system/node/has_memory") == "0-1\n")
                try Client.pattern("store", mount.path + "/dev/cdm0", 0, "1M", 6)
            }
        }
    }
}
