import CLinux
import CoherentMemory
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Node, memory and CPU views agree, whatever the machine and whatever happened to it.
    @Suite("Agreement")
    struct AgreementTests {
        /// Two CPUs on each of the first 32 nodes, devices on the others.
        private static let sixtyFour =
            "block_size = \"2M\"\n"
            + (0..<64).map { id in
                id < 32
                    ? Machines.node(id, "ram", "8M", cpus: "\(2 * id)-\(2 * id + 1)")
                    : Machines.node(id, "coherent", "4M", online: id % 5 != 0)
            }.joined()

        private static let machines = [
            Machines.small, Machines.four, Machines.holes, sixtyFour,
            "[[node]]\nid = 3\nkind = \"ram\"\nmemory = \"256M\"\n",
        ]

        @Test("At the beginning", arguments: machines.indices)
        func beginning(machine: Int) throws {
            try TestMount.with(Self.machines[machine], checkingLeaks: false) { try $0.expectAgreement() }
        }

        @Test("Lists of a machine with holes")
        func lists() throws {
            try TestMount.with(Machines.holes, checkingLeaks: false) { mount throws in
                for (name, text) in [
                    ("online", "0,8-9,250-255"), ("has_cpu", "0,8,253"), ("has_memory", "0,250,252,254-255"),
                    ("has_normal_memory", "0,252"), ("is_cdm_node", "250-251,254-255"),
                ] { #expect(try mount.word("sys/devices/system/node/\(name)") == text, "\(name)") }
                #expect(try mount.word("sys/devices/system/cpu/online") == "0-1,4,8,10")
                #expect(try mount.meminfo(8)["MemTotal"] == 0)
                #expect(try mount.numbers("memory", in: "sys/devices/system/node/node8") == [])
            }
        }

        @Test("After random operations", arguments: [2, 3, 0], [UInt64(1), 2])
        func random(machine: Int, seed: UInt64) throws {
            try TestMount.with(Self.machines[machine], checkingLeaks: false) { mount in
                var dice = SplitMix64(seed: seed)
                let nodes = try mount.nodes()
                let blocks = try mount.numbers("memory", in: "sys/devices/system/memory")
                let devices = try mount.numbers("cdm", in: "sys/class/cdm").map { "cdm\($0)" }
                let size = try mount.blockSize()
                var log: [String] = []
                for step in 1...60 {
                    let name = "b\(Int.random(in: 0..<6, using: &dice))"
                    let node = nodes.randomElement(using: &dice)!
                    let operation = Int.random(in: 0..<11, using: &dice)
                    log.append("\(operation) \(name) \(node)")
                    do {
                        switch operation {
                        case 0:
                            try mount.makeBuffer(name, size: 1 << 20, policy: "prefer:\(node)")
                        case 1:
                            guard FileManager.default.fileExists(atPath: "\(mount.path)/buffers/\(name)") else {
                                continue
                            }
                            try mount.fill(
                                mount.path + "/buffers/" + name, limit: Int.random(in: 1...6 << 20, using: &dice))
                        case 2:
                            _ = unsafe unlink("\(mount.path)/buffers/\(name)")
                        case 3:
                            try mount.store("\(node)", in: mount.control(name) + "/migrate")
                        case 9:
                            let folder = "sys/devices/system/node/node\(node)"
                            try mount.store(
                                "\(Int.random(in: 0..<5, using: &dice))",
                                in: folder + "/hugepages/hugepages-2048kB/nr_hugepages")
                            if Bool.random(using: &dice) { try mount.store("1", in: folder + "/compact") }
                        case 10:
                            let words = ["never", "within_size", "always", "pool"]
                            try mount.store(words.randomElement(using: &dice)!, in: mount.control(name) + "/huge")
                        case 4, 5:
                            let words = ["online", "offline", "online_movable", "online_kernel", "offline"]
                            let block = blocks.randomElement(using: &dice)!
                            try mount.store(
                                words.randomElement(using: &dice)!, in: "sys/devices/system/memory/memory\(block)/state"
                            )
                        case 6:
                            let block = blocks.last! + Int.random(in: 0...40, using: &dice)
                            let word = ["offline", "online", "online_movable"].randomElement(using: &dice)!
                            try mount.store(word, in: "sys/devices/system/memory/auto_online_blocks")
                            try mount.store("\(block * size)", in: "sys/devices/system/memory/probe")
                        case 7:
                            guard let device = devices.randomElement(using: &dice) else { continue }
                            if Bool.random(using: &dice) {
                                try mount.store("1", in: "sys/class/cdm/rescan")
                            } else {
                                try mount.store("force", in: "sys/class/cdm/\(device)/remove")
                            }
                        default:
                            guard let device = devices.randomElement(using: &dice) else { continue }
                            let word = Bool.random(using: &dice) ? "online" : "offline"
                            try mount.store(word, in: "sys/class/cdm/\(device)/state")
                        }
                    } catch let error as Errno {
                        let expected: [Errno] = [
                            .fileExists, .invalidArgument, .resourceBusy, .noMemory, .noSpace, .noSuchFileOrDirectory,
                            .operationNotSupportedByDevice,
                        ]
                        #expect(expected.contains(error), "\(log.last ?? ""): \(error)")
                    }
                    // A device whose blocks would not all go stands at offline_failed until the next transition.
                    guard step % 20 == 0 else { continue }
                    try settle(mount, devices)
                    try mount.expectAgreement("seed \(seed), \(log)")
                }
            }
        }

        /// Brings devices whose last transition failed back, and waits for removed buffers to be given up.
        private func settle(_ mount: TestMount, _ devices: [String]) throws {
            let present = try mount.numbers("cdm", in: "sys/class/cdm").map { "cdm\($0)" }
            for device in devices
            where try present.contains(device) && mount.word("sys/class/cdm/\(device)/state").hasSuffix("failed") {
                try mount.store("online", in: "sys/class/cdm/\(device)/state")
            }
            // The kernel gives up an unlinked inode some time after the last close.
            _ = try eventually(within: 10) {
                for node in try mount.nodes() {
                    let figures = try mount.meminfo(node)
                    let used = figures["MemUsed"]! - figures["HugePages_Free"]! * 2048
                    if try mount.pagesPlaced(on: node) * 4 != used { return false }
                }
                return true
            }
        }
    }
}
