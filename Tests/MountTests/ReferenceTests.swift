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
            "[[node]]\nid = 3\nkind = \"ram\"\nmemory = \"256M\"\n[[node.cache]]\nsize = \"1M\"\n",
            Machines.small + "[[node]]\nid = 9\nkind = \"coherent\"\nmemory = \"128M\"\nbus = \"cxl\"\n",
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

        /// Every file of a mount, with its mode, buffers, directories of them and a group made before.
        private func files(_ mount: TestMount) throws -> [(path: String, mode: String)] {
            try mount.makeBuffer("one", size: 4096)
            try FileManager.default.createDirectory(
                atPath: mount.path + "/buffers/two", withIntermediateDirectories: false)
            try mount.makeBuffer("two/three", size: 4096)
            try FileManager.default.createDirectory(
                atPath: mount.path + "/sys/fs/cgroup/four", withIntermediateDirectories: false)
            // Whoever has a buffer open is listed as a task.
            let holder = try FileHandle(forReadingFrom: URL(filePath: mount.path + "/buffers/one"))
            defer { try? holder.close() }
            let walk = try run(["find", mount.path, "-mindepth", "1", "-printf", "%M %P\\n"])
            try #require(walk.succeeded, "\(walk.errors)")
            return walk.output.split(separator: "\n").map { line in
                let words = line.split(separator: " ", maxSplits: 1).map(String.init)
                return (words[1], words[0])
            }
        }

        @Test("Every file has an entry with its mode, and every entry is of a file")
        func complete() throws {
            let listed = try Self.listed()
            var seen: Set<String> = []
            for machine in Self.machines {
                try TestMount.with(machine, checkingLeaks: false) { mount in
                    for (path, mode) in try files(mount) {
                        let place = general(path)
                        seen.insert(place)
                        // Of a buffer and a directory of buffers the mode is their maker's, as of the directory of their controls.
                        let isMakers =
                            place.hasPrefix("buffers/") || mode.hasPrefix("d") && place.contains("/cdm/buffers/")
                        if let known = listed[place], known == mode || isMakers { continue }
                        Issue.record(
                            """
                            \(mode) \(path) has the entry \(listed[place] ?? "none") \(place). Where a topology brings it, \
                            FileReference.machine needs that; where its name has a number, Placeholder and this test need it
                            """)
                    }
                }
            }
            let absent = listed.keys.filter { !seen.contains($0) }.sorted()
            #expect(absent.isEmpty, "entries that name no file: these tests need a machine that has it")
        }

        @Test("A write of what is malformed is refused, with an error that the entry has")
        func errors() throws {
            let names: [Errno: String] = [
                .invalidArgument: "EINVAL", .outOfRange: "ERANGE", .operationNotSupportedByDevice: "ENODEV",
                .noSuchAddressOrDevice: "ENXIO", .ioError: "EIO", .notPermitted: "EPERM", .resourceBusy: "EBUSY",
                .notSupported: "EOPNOTSUPP", .noSuchProcess: "ESRCH", .fileExists: "EEXIST", .noMemory: "ENOMEM",
                .resourceTemporarilyUnavailable: "EAGAIN", .noSuchFileOrDirectory: "ENOENT", .overflow: "EOVERFLOW",
            ]
            try TestMount.with(checkingLeaks: false) { mount in
                var tried: Set<String> = []
                for (path, mode) in try files(mount) where mode.hasPrefix("-") && path.hasPrefix("sys/") {
                    let place = general(path)
                    guard mode.dropFirst(2).first == "w", tried.insert(place).inserted else { continue }
                    let entry = try run([Host.cdmfs, "help", place]).output
                    for text in [
                        "garbage", "", " ", "-1", "99999999999999999999", "0x", "1 2 3 4 5", "0 4097 0", "1\n2",
                    ] {
                        do {
                            try mount.store(text, in: path)
                            let isFree = text != "garbage" || entry.contains("  Write       anything")
                            #expect(isFree, "\(place) takes \(text)")
                        } catch let error as Errno {
                            let isKnown = names[error].map { entry.contains("\n  \($0) ") } ?? false
                            #expect(isKnown, "\(place): \(error) for \"\(text)\": add it to `errors` of its page")
                        }
                    }
                }
                #expect(tried.count > 20)
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
                case "four": return "GROUP"
                case let word where word.wholeMatch(of: /[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/) != nil:
                    return "DDDD:BB:DD.F"
                case let word where word.wholeMatch(of: /pci[0-9a-f]{4}:[0-9a-f]{2}/) != nil: return "pciDDDD:BB"
                case let word where word.wholeMatch(of: /decoder[0-9]+\.[0-9]+/) != nil: return "decoderN.M"
                case let word where word.wholeMatch(of: /dax[0-9]+\.0/) != nil: return "daxN.0"
                case _ where Int(word) != nil: return "PID"
                default:
                    for (prefix, letter) in [
                        ("node", "N"), ("memory_tier", "T"), ("memory", "M"), ("cpu", "N"), ("cdm", "N"),
                        ("index", "N"),
                        ("hmm_dmirror", "N"), ("mem", "N"), ("endpoint", "N"), ("region", "N"), ("dax_region", "N"),
                        ("dport", "N"),
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

        @Test("Paths of what is bound over the host's, within run")
        func bound() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let outcome = try run(
                    [
                        Host.cdmfs, "run", "--mount", mount.path, "--", "sh", "-c",
                        "\"$0\" help /sys/devices/system/node/online && cd /sys/devices/system/memory && \"$0\" help uevent",
                        Host.cdmfs,
                    ])
                let places = outcome.output.split(separator: "\n").filter { $0.hasPrefix("sys/") }
                #expect(
                    places == ["sys/devices/system/node/online", "sys/devices/system/memory/uevent"],
                    "\(outcome.errors)")
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
