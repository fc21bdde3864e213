import CLinux
import Foundation
import SystemPackage
import Testing

private let system = "sys/devices/system"

extension TestMount {
    /// Where a link leads, as it stands there.
    func target(_ link: String) throws -> String {
        try FileManager.default.destinationOfSymbolicLink(atPath: path + "/" + link)
    }

    /// The names in a folder that begin with a word and go on with a number, by number.
    func numbers(_ word: String, in folder: String) throws -> [Int] {
        try FileManager.default.contentsOfDirectory(atPath: path + "/" + folder).compactMap {
            $0.hasPrefix(word) ? Int($0.dropFirst(word.count)) : nil
        }.sorted()
    }

    /// What a link leads to is the file named.
    func expectLeads(_ link: String, to file: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        var found = stat()
        #expect(unsafe stat(path + "/" + link, &found) == 0, "\(link)", sourceLocation: sourceLocation)
        #expect(try found.st_ino == entry(file).status.st_ino, "\(link)", sourceLocation: sourceLocation)
    }
}

extension Mounts {
    /// Nodes, blocks, CPUs, buses and devices point to each other as Linux has them.
    @Suite("Links")
    struct LinkTests {
        @Test("Targets are Linux's")
        func targets() throws {
            try TestMount.with { mount in
                let expected = [
                    "\(system)/node/node1/memory16": "../../memory/memory16",
                    "\(system)/memory/memory16/node1": "../../node/node1",
                    "\(system)/memory/memory16/subsystem": "../../../../bus/memory",
                    "\(system)/node/node1/subsystem": "../../../../bus/node",
                    "\(system)/node/node0/cpu0": "../../cpu/cpu0",
                    "\(system)/cpu/cpu0/node0": "../../node/node0",
                    "\(system)/cpu/cpu0/subsystem": "../../../../bus/cpu",
                    "\(system)/node/node1/cdm/device": "../../../../../class/cdm/cdm0",
                    "sys/bus/node/devices/node1": "../../../devices/system/node/node1",
                    "sys/bus/memory/devices/memory0": "../../../devices/system/memory/memory0",
                ]
                for (link, target) in expected { #expect(try mount.target(link) == target, "\(link)") }
                try mount.expectLeads("\(system)/node/node1/memory16/node1", to: "\(system)/node/node1")
                try mount.expectLeads("\(system)/node/node1/cdm/device/buffer", to: "sys/class/cdm/cdm0/buffer")
                try mount.expectLeads("\(system)/cpu/cpu0/subsystem/devices/cpu0", to: "\(system)/cpu/cpu0")
                for name in ["node0/memory16", "node1/memory0", "node1/memory016", "node1/memory32"] {
                    #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry("\(system)/node/\(name)") }
                }
            }
        }

        @Test("The host's own links, modes and texts", .enabled(if: LinkTests.hasHostNode))
        func host() throws {
            try TestMount.with { mount in
                let block = try #require(
                    FileManager.default.contentsOfDirectory(atPath: "/\(system)/node/node0")
                        .first { $0.hasPrefix("memory") && Int($0.dropFirst(6)) != nil })
                for (ours, theirs) in [
                    ("node/node0/memory0", "node/node0/\(block)"), ("memory/memory0/node0", "memory/\(block)/node0"),
                    ("memory/memory0/subsystem", "memory/\(block)/subsystem"),
                    ("node/node0/subsystem", "node/node0/subsystem"), ("node/node0/cpu0", "node/node0/cpu0"),
                    ("cpu/cpu0/node0", "cpu/cpu0/node0"),
                ] {
                    let target = try FileManager.default.destinationOfSymbolicLink(atPath: "/\(system)/\(theirs)")
                    #expect(
                        try mount.target("\(system)/\(ours)") == target.replacing(block, with: "memory0"), "\(ours)")
                }
                for (ours, theirs) in [
                    ("memory/memory0", "memory/\(block)"), ("node/node0", "node/node0"), ("node", "node"),
                    ("memory", "memory"),
                ] {
                    for file in ["power", "power/control", "power/runtime_status", "power/runtime_active_time"] {
                        let host = try status("/\(system)/\(theirs)/\(file)")
                        #expect(try mount.entry("\(system)/\(ours)/\(file)").status.st_mode == host.st_mode, "\(file)")
                        guard host.st_mode & S_IFMT == S_IFREG else { continue }
                        let text = try String(contentsOfFile: "/\(system)/\(theirs)/\(file)", encoding: .utf8)
                        #expect(try mount.text("\(system)/\(ours)/\(file)") == text, "\(file)")
                    }
                }
                #expect(try mount.text("\(system)/memory/memory0/phys_device") == "0\n")
            }
        }

        private static let hasHostNode = unsafe access("/\(system)/memory", F_OK) == 0

        @Test("power/control takes auto and on")
        func power() throws {
            try TestMount.with { mount in
                let control = "\(system)/memory/memory3/power/control"
                try mount.store("on", in: control)
                #expect(try mount.text(control) == "on\n")
                #expect(try mount.text("\(system)/memory/memory4/power/control") == "auto\n")
                #expect(throws: Errno.invalidArgument) { try mount.store("off", in: control) }
                try mount.store("auto", in: control)
                #expect(try mount.text(control) == "auto\n")
            }
        }
    }
}
