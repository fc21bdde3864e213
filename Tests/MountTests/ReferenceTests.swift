import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// `cdmfs help` knows every file of a real mount, and tells its mode.
    @Suite("Reference of the files")
    struct ReferenceTests {
        /// The machines that between them have every kind of file. What a topology can bring belongs here, too.
        private static let machines = [
            Machines.small, Machines.four, Machines.make(online: false),
            "[[node]]\nid = 3\nkind = \"ram\"\nmemory = \"256M\"\n",
        ]

        /// Mode and path of each line of `cdmfs help --all`.
        private static func listed() throws -> [String: String] {
            let outcome = try run([Host.cdmfs, "help", "--all"])
            try #require(outcome.succeeded, "\(outcome.errors)")
            return outcome.output.split(separator: "\n").reduce(into: [:]) { entries, line in
                let words = line.split(separator: " ", maxSplits: 2)
                if words.count > 1 { entries[String(words[1])] = String(words[0]) }
            }
        }

        @Test("Every file has an entry, with its mode", arguments: machines.indices)
        func complete(machine: Int) throws {
            let listed = try Self.listed()
            var seen: Set<String> = []
            try TestMount.with(Self.machines[machine], checkingLeaks: false) { mount in
                try mount.makeBuffer("one", size: 4096)
                try FileManager.default.createDirectory(
                    atPath: mount.path + "/buffers/two", withIntermediateDirectories: false)
                try mount.makeBuffer("two/three", size: 4096)
                let walk = try run(["find", mount.path, "-mindepth", "1", "-printf", "%M %P\\n"])
                try #require(walk.succeeded, "\(walk.errors)")
                for line in walk.output.split(separator: "\n") {
                    let words = line.split(separator: " ", maxSplits: 1).map(String.init)
                    let place = general(words[1])
                    guard let mode = listed[place] else {
                        Issue.record(
                            "\(words[1]) has no entry \(place): give the machine of Reference what brings it, or Placeholder its name"
                        )
                        continue
                    }
                    seen.insert(place)
                    // Of a buffer and a directory of buffers the mode is their maker's.
                    if place.hasPrefix("buffers/") { continue }
                    #expect(mode == words[0], "\(place)")
                }
            }
            // The first machine has all that the reference names but what only other topologies bring.
            if machine == 0 {
                let absent = listed.keys.filter { !seen.contains($0) }.sorted()
                #expect(absent.isEmpty, "entries that name no file")
            }
        }

        /// A path as the reference has it: letters for numbers, NAME and DIR for what this test has made.
        private func general(_ path: String) -> String {
            var words = path.split(separator: "/").map(String.init)
            if let last = words.firstIndex(of: "three"), words[last - 1] == "two" { words.remove(at: last - 1) }
            return words.map { word in
                switch word {
                case "one", "three": return "NAME"
                case "two": return "DIR"
                default:
                    for (prefix, letter) in [
                        ("node", "N"), ("memory_tier", "T"), ("memory", "M"), ("cpu", "N"), ("cdm", "N"),
                        ("index", "N"),
                        ("hmm_dmirror", "N"),
                    ] where word.hasPrefix(prefix) && Int(word.dropFirst(prefix.count)) != nil {
                        return prefix + letter
                    }
                    return word
                }
            }.joined(separator: "/")
        }

        @Test("Paths of a mount, absolute and relative")
        func paths() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                try mount.makeBuffer("state", size: 4096)
                for (folder, file, place) in [
                    ("/", mount.path + "/sys/class/cdm/cdm0/state", "sys/class/cdm/cdmN/state"),
                    (mount.path + "/sys/class/cdm/cdm0", "state", "sys/class/cdm/cdmN/state"),
                    (
                        mount.path + "/sys/devices/system/node", "../memory/memory3/state",
                        "sys/devices/system/memory/memoryM/state"
                    ),
                    (mount.path + "/buffers", "./state", "buffers/DIR"), (mount.path, "dev/cdm0", "dev/cdmN"),
                    (mount.path, "sys/kernel/cdm/buffers/state/policy", "sys/kernel/cdm/buffers/NAME/policy"),
                    ("/", "/sys/devices/system/node/node0/meminfo", "sys/devices/system/node/nodeN/meminfo"),
                ] {
                    let outcome = try run(
                        ["sh", "-c", "cd \"$1\" && exec \"$2\" help \"$3\"", "sh", folder, Host.cdmfs, file])
                    #expect(outcome.succeeded, "\(file): \(outcome.errors)")
                    #expect(outcome.output.hasPrefix(place + "\n"), "\(file): \(outcome.output)")
                }
            }
        }

        @Test("A command's help, and what is nothing")
        func commands() throws {
            for arguments in [[], ["mount"], ["unmount"], ["umount"], ["topology"], ["run"], ["help"]] {
                let outcome = try run([Host.cdmfs, "help"] + arguments)
                #expect(outcome.succeeded && outcome.output.contains("USAGE: cdmfs"), "\(arguments)")
            }
            #expect(try run([Host.cdmfs, "help", "mount"]).output == run([Host.cdmfs, "mount", "--help"]).output)
            for wrong in [
                ["nonsense"], ["node1/nonsense"], ["--all", "state"], ["state", "nonsense"], ["--nonsense"],
            ] {
                let outcome = try run([Host.cdmfs, "help"] + wrong)
                #expect(outcome.ending == .exited(64) && outcome.output.isEmpty, "\(wrong)")
                #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
            }
        }
    }
}
