import CLinux
import Foundation
import SystemPackage
import Testing

private let nodes = "sys/devices/system/node"
private let tiering = "sys/devices/virtual/memory_tiering"

extension Mounts {
    /// What the topology says of speed, where Linux shows it.
    @Suite("Access and tiers")
    struct TierTests {
        @Test("access0: the nearest CPUs, and the link's figures")
        func access() throws {
            let link = """
                [[node]]
                id = 6
                kind = "coherent"
                memory = "32M"
                [node.link]
                read_latency = 500
                write_latency = 600
                read_bandwidth = 64000
                write_bandwidth = 32000

                """
            let parts = Machines.four.components(separatedBy: "[[distance]]")
            let topology = parts[0] + link + "[[distance]]" + parts[1...].joined(separator: "[[distance]]")
            try TestMount.with(topology, checkingLeaks: false) { mount in
                func links(_ folder: String) throws -> [Int] { try mount.numbers("node", in: "\(nodes)/\(folder)") }
                #expect(try links("node0/access0/initiators") == [0])
                #expect(try links("node0/access0/targets") == [0, 4, 5, 6])
                #expect(try links("node1/access0/targets") == [1, 6])
                #expect(try links("node4/access0/initiators") == [0])
                #expect(try links("node4/access0/targets") == [])
                #expect(try links("node6/access0/initiators") == [0, 1])
                #expect(try mount.target("\(nodes)/node4/access0/initiators/node0") == "../../../node0")
                // Class 1 leaves out initiators that are no CPUs, of which there are none.
                #expect(try links("node0/access1/targets") == [0, 4, 5, 6])
                #expect(try links("node6/access1/initiators") == [0, 1])
                #expect(try mount.text("\(nodes)/node6/access1/initiators/read_latency") == "500\n")
                #expect(try mount.names(in: "\(nodes)/node0/access0/power") == [])
                try mount.expectLeads("\(nodes)/node0/access0/targets/node4", to: "\(nodes)/node4")
                for (file, text, ram) in [
                    ("read_latency", "500", "87"), ("write_latency", "600", "87"),
                    ("read_bandwidth", "64000", "240000"), ("write_bandwidth", "32000", "240000"),
                ] {
                    #expect(try mount.text("\(nodes)/node6/access0/initiators/\(file)") == text + "\n")
                    #expect(try mount.entry("\(nodes)/node6/access0/initiators/\(file)").permissions == 0o444)
                    // Of RAM the topology does not say it: it is as fast as it is near.
                    #expect(try mount.text("\(nodes)/node0/access0/initiators/\(file)") == ram + "\n")
                }
            }
        }

        @Test("Tiers follow the memory that is online")
        func tiers() throws {
            try TestMount.with(Machines.four) { mount throws in
                #expect(try mount.numbers("memory_tier", in: tiering) == [4, 22])
                #expect(try mount.text("\(tiering)/memory_tier4/nodelist") == "0-1\n")
                #expect(try mount.text("\(tiering)/memory_tier22/nodelist") == "4-5\n")
                #expect(try mount.target("\(tiering)/memory_tier4/subsystem") == "../../../../bus/memory_tiering")
                try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                #expect(try mount.text("\(tiering)/memory_tier22/nodelist") == "5\n")
                try mount.store("offline", in: "sys/class/cdm/cdm1/state")
                #expect(try mount.numbers("memory_tier", in: tiering) == [4])
                #expect(try mount.numbers("memory_tier", in: "sys/bus/memory_tiering/devices") == [4])
                for device in ["cdm0", "cdm1"] { try mount.store("online", in: "sys/class/cdm/\(device)/state") }
                #expect(try mount.text("\(tiering)/memory_tier22/nodelist") == "4-5\n")
            }
        }

        @Test("demotion_enabled and the weights of interleaving")
        func settings() throws {
            try TestMount.with { mount in
                let demotion = "sys/kernel/mm/numa/demotion_enabled"
                #expect(try mount.text(demotion) == "false\n")
                for (word, text) in [("1", "true"), ("0", "false"), ("true", "true"), ("off", "false")] {
                    try mount.store(word, in: demotion)
                    #expect(try mount.text(demotion) == text + "\n")
                }
                let weights = "sys/kernel/mm/mempolicy/weighted_interleave"
                #expect(try mount.numbers("node", in: weights) == [0, 1])
                #expect(try mount.text("\(weights)/node1") == "1\n")
                try mount.store("255", in: "\(weights)/node1")
                #expect(try mount.text("\(weights)/node1") == "255\n")
                // What Linux 6.18 answered; out of range is EINVAL here, and 0 no default any more.
                for word in ["0", "256", "-1", "x", "", " 5", "5 ", "1.5", "99999999999999999999"] {
                    #expect(throws: Errno.invalidArgument, "\(word)") { try mount.store(word, in: "\(weights)/node1") }
                }
                #expect(try mount.text("\(weights)/node1") == "255\n")
                for (word, text) in [("0x10", "16"), ("010", "8"), ("+5", "5")] {
                    try mount.store(word, in: "\(weights)/node1")
                    #expect(try mount.text("\(weights)/node1") == text + "\n")
                }
            }
        }

        @Test("weighted_interleave/auto: setting a weight ends it, true begins anew, false keeps the weights")
        func automaticWeights() throws {
            try TestMount.with { mount in
                let weights = "sys/kernel/mm/mempolicy/weighted_interleave"
                func expect(auto: String, node1: String, _ location: SourceLocation = #_sourceLocation) throws {
                    #expect(try mount.text("\(weights)/auto") == auto + "\n", sourceLocation: location)
                    #expect(try mount.text("\(weights)/node1") == node1 + "\n", sourceLocation: location)
                }
                #expect(try mount.entry("\(weights)/auto").permissions == 0o644)
                try expect(auto: "true", node1: "1")
                try mount.store("7", in: "\(weights)/node1")
                try expect(auto: "false", node1: "7")
                try mount.store("false", in: "\(weights)/auto")
                try expect(auto: "false", node1: "7")
                #expect(throws: Errno.invalidArgument) { try mount.store("x", in: "\(weights)/auto") }
                try expect(auto: "false", node1: "7")
                try mount.store("1", in: "\(weights)/auto")
                try expect(auto: "true", node1: "1")
                try mount.store("0", in: "\(weights)/auto")
                try expect(auto: "false", node1: "1")
            }
        }
    }
}
