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

        @Test("All four words of isolation, each with an event")
        func isolation() throws {
            try TestMount.with { mount in
                let file = "sys/devices/system/node/node1/cdm/isolation"
                let reader = try UeventReader(mount)
                for word in ["restricted", "driver", "none", "exclusive"] {
                    try mount.store(word, in: file)
                    #expect(try mount.text(file).contains("[\(word)]"))
                    let isDriver = word == "driver"
                    #expect(try mount.text("sys/devices/system/node/has_memory") == (isDriver ? "0\n" : "0-1\n"))
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
