import CLinux
import Foundation
import SystemPackage
import Testing

private let memory = "sys/devices/system/memory"

private func block(_ number: Int, _ file: String = "state") -> String { "\(memory)/memory\(number)/\(file)" }

extension Mounts {
    /// The words of memory blocks, and the zones they name (drivers/base/memory.c).
    @Suite("Words of memory blocks")
    struct BlockWordTests {
        @Test("A block of RAM comes online into either zone")
        func zones() throws {
            try TestMount.with { mount in
                // 16 blocks of RAM, the last of them at the end of the ordinary zone.
                #expect(try mount.text(block(15, "valid_zones")) == "Normal\n")
                try mount.store("offline", in: block(15))
                #expect(try mount.text(block(15, "valid_zones")) == "Normal Movable\n")
                try mount.store("online_movable", in: block(15))
                #expect(try mount.text(block(15)) == "online\n")
                #expect(try mount.text(block(15, "valid_zones")) == "Movable\n")
                try mount.store("0", in: block(15, "online"))
                try mount.store("online_kernel", in: block(15))
                #expect(try mount.text(block(15, "valid_zones")) == "Normal\n")
                for word in ["online", "online_kernel", "online_movable"] {
                    #expect(throws: Errno.invalidArgument) { try mount.store(word, in: block(15)) }
                }
            }
        }

        @Test("Without a word for it, a block gets the zone it lies within")
        func neighbours() throws {
            try TestMount.with { mount in
                for number in 13...15 { try mount.store("offline", in: block(number)) }
                try mount.store("online_movable", in: block(13))
                try mount.store("online_movable", in: block(15))
                #expect(try mount.text(block(14, "valid_zones")) == "Movable Normal\n")
                try mount.store("online", in: block(14))
                #expect(try mount.text(block(14, "valid_zones")) == "Movable\n")
                // Within both zones it is the ordinary one.
                try mount.store("offline", in: block(14))
                try mount.store("offline", in: block(15))
                try mount.store("online_kernel", in: block(15))
                #expect(try mount.text(block(14, "valid_zones")) == "Normal Movable\n")
                try mount.store("1", in: block(14, "online"))
                #expect(try mount.text(block(14, "valid_zones")) == "Normal\n")
            }
        }

        @Test("A node with movable memory only is not in has_normal_memory")
        func normalMemory() throws {
            let topology =
                Machines.small + """
                    [[node]]
                    id = 2
                    kind = "ram"
                    memory = "32M"

                    """
            try TestMount.with(topology, checkingLeaks: false) { mount throws in
                let node = "sys/devices/system/node"
                #expect(try mount.text("\(node)/has_normal_memory") == "0,2\n")
                for number in 32...33 {
                    try mount.store("offline", in: block(number))
                    try mount.store("online_movable", in: block(number))
                }
                #expect(try mount.text("\(node)/has_normal_memory") == "0\n")
                #expect(try mount.text("\(node)/has_memory") == "0-2\n")
            }
        }

        @Test("A device's memory is movable only")
        func coherent() throws {
            try TestMount.with { mount in
                try mount.store("offline", in: block(16))
                #expect(try mount.text(block(16, "valid_zones")) == "Movable\n")
                #expect(throws: Errno.invalidArgument) { try mount.store("online_kernel", in: block(16)) }
                #expect(try mount.text(block(16)) == "offline\n")
                try mount.store("online", in: block(16))
                #expect(try mount.text(block(16, "valid_zones")) == "Movable\n")
            }
        }

        @Test("online takes what kstrtobool() does, and a word of state is one of those")
        func truths() throws {
            try TestMount.with { mount in
                for (text, isOnline) in [
                    ("offline", false), ("online_movable", true), ("no", false), ("y", true), ("0x1", false),
                    ("1x", true),
                    ("False", false), ("TRUE", true), ("disabled", false), ("enabled", true), ("ofx", false),
                    ("oN", true),
                ] {
                    try mount.store(text, in: block(15, "online"))
                    #expect(try mount.text(block(15)) == (isOnline ? "online\n" : "offline\n"), "\(text)")
                }
                // The zone is that of plain `online`.
                #expect(try mount.text(block(15, "valid_zones")) == "Normal\n")
                for text in ["o", "2", "-1", " 1", "", "x"] {
                    #expect(throws: Errno.invalidArgument, "\(text)") { try mount.store(text, in: block(15, "online")) }
                }
                // As C programs write a string.
                for (bytes, state) in [("offline\0", "offline"), ("online\n\0", "online")] {
                    try mount.store(Array(bytes.utf8), in: block(15))
                    #expect(try mount.word(block(15)) == state)
                }
                #expect(throws: Errno.invalidArgument) { try mount.store(Array("offline\0x".utf8), in: block(15)) }
                #expect(throws: Errno.invalidArgument) { try mount.store([0], in: block(15)) }
            }
        }

        @Test(
            "Other files take what Linux takes there",
            arguments: [
                ("sys/kernel/mm/numa/demotion_enabled", "yes!", "true"),
                ("sys/kernel/mm/numa/demotion_enabled", "disable", "false"),
                ("sys/kernel/mm/mempolicy/weighted_interleave/auto", "nope", "false"),
                ("sys/kernel/mm/mempolicy/weighted_interleave/node0", "+0x10", "16"),
                ("sys/kernel/cdm/numa_balancing", " 0x2\t", "2"), ("sys/kernel/cdm/numa_balancing", "-0", "0"),
                ("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "+01", "1"),
            ])
        func others(file: String, text: String, shown: String) throws {
            try TestMount.with(checkingLeaks: false) { mount in
                try mount.store(text, in: file)
                #expect(try mount.word(file) == shown)
            }
        }

        @Test("auto_online_blocks takes the four words")
        func automatic() throws {
            try TestMount.with { mount in
                let file = "\(memory)/auto_online_blocks"
                #expect(try mount.text(file) == "offline\n")
                #expect(try mount.entry(file).permissions == 0o644)
                for word in ["online", "online_kernel", "online_movable", "offline"] {
                    try mount.store(word, in: file)
                    #expect(try mount.text(file) == word + "\n")
                }
                #expect(throws: Errno.invalidArgument) { try mount.store("on", in: file) }
            }
        }

        @Test("What soft_ and hard_offline_page make of addresses")
        func pageAddresses() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                try mount.store("offline", in: block(16))
                let offline = String(16 * Machines.blockSize)
                let beyond = String(32 * Machines.blockSize)
                for (name, errorOffline) in [
                    ("soft_offline_page", Errno.ioError), ("hard_offline_page", .noSuchAddressOrDevice),
                ] {
                    let file = "\(memory)/\(name)"
                    #expect(try mount.entry(file).permissions == 0o200)
                    for text in ["", "x", "-1", "0x", "1 2", "0x1ffffffffffffffff"] {
                        #expect(throws: Errno.invalidArgument, "\(text)") { try mount.store(text, in: file) }
                    }
                    #expect(throws: Errno.noSuchAddressOrDevice) { try mount.store(beyond, in: file) }
                    #expect(throws: Errno.noSuchAddressOrDevice) { try mount.store("0xffffffffffffffff", in: file) }
                    #expect(throws: errorOffline) { try mount.store(offline, in: file) }
                }
                #expect(try mount.text(block(0)) == "online\n")
            }
        }
    }
}
