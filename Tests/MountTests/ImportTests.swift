import Foundation
import MachineTopology
import SystemPackage
import Testing

extension Mounts {
    /// Machines from elsewhere: what hwloc sees of the simulated one is what it was told of the source.
    @Suite("Imported machines")
    struct ImportTests {
        private func imported(_ source: String) throws -> (topology: Topology, toml: String) {
            let outcome = try run([Host.cdmfs, "topology", "--from", source])
            try #require(outcome.succeeded, "\(outcome.errors)")
            return (try Topology(toml: outcome.output), outcome.output)
        }

        /// What a source says, by what lstopo writes under the imported machine.
        private func seen(_ topology: Topology, in folder: String) throws -> Topology {
            let (file, xml) = ("\(folder)/machine.toml", "\(folder)/seen.xml")
            try topology.toml.write(toFile: file, atomically: false, encoding: .utf8)
            let outcome = try run([
                Host.cdmfs, "run", "--topology", file, "--", "lstopo-no-graphics", "--disallowed", "--of", "xml", xml,
            ])
            try #require(outcome.succeeded, "\(outcome.errors)")
            return try imported(xml).topology
        }

        private func expectSame(_ seen: Topology, _ source: Topology) {
            #expect(seen.nodeIDs == source.nodeIDs)
            for (seen, source) in zip(seen.nodes, source.nodes) {
                #expect(seen.memory == source.memory && seen.cpus == source.cpus, "node \(source.id): \(seen)")
                #expect(seen.link == source.link, "node \(source.id): \(seen)")
            }
            for from in source.nodeIDs {
                for to in source.nodeIDs {
                    #expect(seen.distance(from: from, to: to) == source.distance(from: from, to: to), "\(from) \(to)")
                }
            }
        }

        @Test(
            "Import, run, export, import again",
            arguments: [
                "package:2 [numa(memory=4GiB)] core:4 pu:2", "numa:1 pu:2", "group:4 [numa(memory=1GiB)] pu:4",
            ], [Host.has("lstopo-no-graphics")])
        func roundTrip(synthetic: String, isInstalled: Bool) throws {
            try #require(isInstalled, "mount-scripts/test installs hwloc-nox")
            let folder = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let (topology, _) = try imported("synthetic:\(synthetic)")
            expectSame(try seen(topology, in: folder), topology)
        }

        @Test(
            "Presets under hwloc",
            arguments: Topology.presets.filter { $0.name != "large" && $0.name != "default" }.map(\.name))
        func presets(name: String) throws {
            let folder = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let topology = try Topology(preset: name)
            expectSame(try seen(topology, in: folder), topology)
        }

        /// The pictures of the documentation, by the presets that they show.
        private static let pictures: [String] = {
            let folder = Host.package.appending("Sources/CoherentFS/CoherentFS.docc/Resources").string
            let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
            return names.filter { $0.hasSuffix(".svg") }.sorted().map { "\(folder)/\($0)" }
        }()

        @Test("The pictures of presets are what lstopo draws")
        func pictures() throws {
            #expect(Self.pictures.count > Topology.presets.count / 2)
            for file in Self.pictures {
                let name = (file as NSString).lastPathComponent.dropLast(4)
                let outcome = try run([
                    Host.cdmfs, "run", "--preset", String(name), "--", "lstopo-no-graphics", "-p", "--no-io",
                    "--no-caches", "--no-legend", "--horiz=Machine", "--of", "nativesvg", "-",
                ])
                try #require(outcome.succeeded, "\(outcome.errors)")
                // A view box has no units.
                let drawing = outcome.output.replacing(/viewBox='0 0 (\d+)px (\d+)px'/) {
                    "viewBox='0 0 \($0.1) \($0.2)'"
                }
                let isCurrent = try String(contentsOfFile: file, encoding: .utf8) == drawing
                #expect(isCurrent, "\(name).svg is not what lstopo draws of the preset")
            }
        }

        @Test("numactl -H of a machine, and its sys/ tree")
        func otherSources() throws {
            let folder = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let text = "\(folder)/numactl"
            let outcome = try run([Host.cdmfs, "run", "--preset", "two-socket", "--", "numactl", "-H"])
            try outcome.output.write(toFile: text, atomically: false, encoding: .utf8)
            let source = try Topology(preset: "two-socket")
            let fromText = try imported(text).topology
            #expect(fromText.nodes.map(\.memory) == source.nodes.map(\.memory))
            #expect(fromText.nodes.map(\.cpus) == source.nodes.map(\.cpus))
            #expect(fromText.distance(from: 0, to: 3) == 60 && fromText.distance(from: 2, to: 3) == 80)
            try TestMount.with(source.toml) { mount in
                expectSame(try imported(mount.path).topology, source)
            }
        }

        @Test("What cannot be imported is one line, and an exit status")
        func refusals() throws {
            for (source, status) in [
                ("/nonexistent", Int32(66)), ("/proc/self/status", 65), ("synthetic:x[", 65), ("/proc/self/fd", 65),
            ] {
                let outcome = try run([Host.cdmfs, "topology", "--from", source])
                #expect(outcome.ending == .exited(status), "\(source): \(outcome)")
                #expect(outcome.output == "" && outcome.errors.split(separator: "\n").count == 1, "\(outcome)")
            }
            #expect(try run([Host.cdmfs, "topology", "--from", "/", "--list"]).ending == .exited(64))
        }
    }
}
