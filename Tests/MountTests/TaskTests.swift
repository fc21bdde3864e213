import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Policies, groups and open devices of real processes. What each scenario expects stands in Tests/Clients/tasks.py.
    @Suite("Tasks")
    struct TaskTests {
        @Test(
            "Processes with policies, cpusets and devices",
            arguments: ["policy", "restricted", "cgroup", "example", "maps", "xattrs"])
        func scenario(name: String) throws {
            try TestMount.with { mount in
                let outcome = try run(
                    ["python3", Client.tasks, name, mount.path], within: 60, environment: mount.environment)
                try #require(outcome.succeeded, "\(name): \(outcome.errors)")
                #expect(outcome.output.hasSuffix("done\n"))
            }
        }

        @Test("Every word of isolation, each with an event")
        func isolation() throws {
            try TestMount.with { mount in
                let file = "sys/devices/system/node/node1/cdm/isolation"
                let reader = try UeventReader(mount)
                for word in ["restricted", "driver", "none", "private", "exclusive"] {
                    try mount.store(word, in: file)
                    #expect(try mount.text(file).contains("[\(word)]"))
                    let isHidden = word == "driver" || word == "private"
                    #expect(try mount.text("sys/devices/system/node/has_memory") == (isHidden ? "0\n" : "0-1\n"))
                    let hidden = word == "private" ? "1\n" : "\n"
                    #expect(try mount.text("sys/devices/system/node/has_private_memory") == hidden)
                    let events = try reader.events().filter { $0["DEVPATH"] == "/devices/system/node/node1" }
                    #expect(events.map { $0["ACTION"] } == ["change"] && events.first?["ISOLATION"] == word)
                }
                try mount.store("exclusive", in: file)
                #expect(try reader.events().isEmpty)
                try mount.makeBuffer("a", size: 4096, policy: "bind:1")
                try mount.fill(mount.path + "/buffers/a", limit: 4096)
                #expect(throws: Errno.resourceBusy) { try mount.store("driver", in: file) }
            }
        }

        @Test("The rights of a node: shown a line each, set by name, all or none at once")
        func capabilities() throws {
            try TestMount.with { mount in
                let folder = "sys/devices/system/node/node1/cdm"
                func rights() throws -> [String: String] {
                    Dictionary(
                        uniqueKeysWithValues: try mount.text(folder + "/capabilities").split(separator: "\n").map {
                            let words = $0.split(separator: " ").map(String.init)
                            return (words[0], words[1])
                        })
                }
                let exclusive = try rights()
                #expect(exclusive.count == 12 && exclusive["mempolicy"] == "1" && exclusive["fallback"] == "0")
                let reader = try UeventReader(mount)
                try mount.store("reclaim 1\ndemotion 1\n", in: folder + "/capabilities")
                #expect(try rights()["reclaim"] == "1" && rights()["demotion"] == "1")
                #expect(try mount.text(folder + "/isolation") == "none exclusive restricted driver private\n")
                let events = try reader.events().filter { $0["DEVPATH"] == "/devices/system/node/node1" }
                #expect(events.count == 1 && events[0]["ISOLATION"] == nil)
                #expect(events.first?["CAPABILITIES"]?.split(separator: ",").contains("demotion") == true)
                // What was shown may be written back, and nothing changes.
                try mount.store(mount.text(folder + "/capabilities"), in: folder + "/capabilities")
                #expect(try reader.events().isEmpty)
                for bad in [
                    "", "reclaim", "reclaim 2", "reclaim 1 demotion", "recIaim 1", "reclaim 1 reclaim 0", "reclaim 0",
                    "node 0", "fallback 1 mempolicy 0", "reclaim 01", "reclaim 99999999999999999999",
                ] {
                    #expect(throws: Errno.invalidArgument, "\(bad)") {
                        try mount.store(bad, in: folder + "/capabilities")
                    }
                }
                #expect(try rights()["reclaim"] == "1" && rights()["demotion"] == "1")
                try mount.store("exclusive", in: folder + "/isolation")
                #expect(try rights() == exclusive)
                // A policy may not name the node any more; the device's file has its memory all the same.
                try mount.store("mempolicy 0", in: folder + "/capabilities")
                #expect(throws: Errno.invalidArgument) { try mount.makeBuffer("a", size: 4096, policy: "bind:1") }
                try mount.fill(mount.path + "/dev/cdm0", limit: 4096)
            }
        }

        @Test("mem/ of a device tells how much is given out, under driver, too, where no node has it")
        func deviceMemory() throws {
            try TestMount.with { mount in
                let whole = Machines.nodeSize
                func figures() throws -> [Int?] {
                    try ["total", "free", "used", "largest_free"].map {
                        Int(try mount.word("sys/class/cdm/cdm0/mem/" + $0))
                    }
                }
                #expect(try figures() == [whole, whole, 0, whole])
                for word in ["exclusive", "driver"] {
                    try mount.store(word, in: "sys/devices/system/node/node1/cdm/isolation")
                    try mount.fill(mount.path + "/dev/cdm0", limit: 1 << 20)
                    let now = try figures()
                    #expect(
                        now.prefix(3) == [whole, whole - 1 << 20, 1 << 20] && now[3] == whole / 2, "\(word) \(now)")
                    #expect(try mount.meminfo(1)["MemTotal"] == (word == "driver" ? 0 : whole / 1024))
                    try mount.hollow("dev/cdm0")
                    #expect(try eventually { try figures() == [whole, whole, 0, whole] })
                }
                try mount.store("exclusive", in: "sys/devices/system/node/node1/cdm/isolation")
                try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                #expect(try figures() == [0, 0, 0, 0])
                try mount.store("online", in: "sys/class/cdm/cdm0/state")
            }
        }

        @Test("Zonelists follow isolation")
        func zonelists() throws {
            try TestMount.with(Machines.four) { mount throws in
                func list(_ name: String) throws -> String? {
                    try mount.text("sys/kernel/cdm/zonelists").split(separator: "\n").first {
                        $0.hasPrefix(name + ": ")
                    }
                    .map { String($0.dropFirst(name.utf8.count + 2)) }
                }
                // Node 5 is in no isolation, node 4 is.
                #expect(try list("node0 fallback") == "0 1 5")
                #expect(try list("node4 fallback") == "4 0 1 5" || list("node4 fallback") == "4 0 5 1")
                #expect(try list("node4 thisnode") == "4")
                try mount.store("none", in: "sys/devices/system/node/node4/cdm/isolation")
                #expect(try list("node0 fallback") == "0 1 4 5")
                try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                #expect(try list("node0 fallback") == "0 1 5")
                try mount.store("online", in: "sys/class/cdm/cdm0/state")
            }
        }
    }
}
