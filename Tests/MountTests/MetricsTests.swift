import Foundation
import Testing

extension Mounts {
    /// What Prometheus reads of a machine.
    @Suite("Metrics")
    struct MetricsTests {
        @Test("cdmfs metrics is valid and agrees with the files")
        func agreement() throws {
            try TestMount.with(Machines.four) { mount in
                try mount.store("bind:4", in: buffer("a", of: mount))
                _ = try run(["sh", "-c", "head -c 1M /dev/zero > \(mount.path)/buffers/a"])
                let outcome = try run([Host.cdmfs, "metrics", mount.path])
                #expect(outcome.succeeded, "\(outcome.errors)")
                let text = outcome.output
                #expect(text.hasSuffix("\n# EOF\n"))
                let samples = try samples(in: text)
                for node in try mount.nodes() {
                    let total = try #require(try mount.meminfo(node)["MemTotal"])
                    #expect(
                        samples["cdmfs_node_memory_bytes{node=\"\(node)\",state=\"present\"}"] == Double(total) * 1024)
                    let hits = try #require(try mount.numastat(node)["numa_hit"])
                    #expect(samples["cdmfs_node_allocations_total{node=\"\(node)\",outcome=\"hit\"}"] == Double(hits))
                }
                #expect(samples["cdmfs_node_info{node=\"0\",kind=\"ram\",tier=\"4\"}"] == 1)
                #expect(samples["cdmfs_node_info{node=\"4\",kind=\"coherent\",tier=\"22\"}"] == 1)
                let device = try #require(
                    samples.keys.first { $0.contains("_info{device") && $0.contains("node=\"4\"") })
                let name = try #require(device.firstMatch(of: /cdm\d+/)).0
                #expect(samples["cdmfs_device_link_up{device=\"\(name)\"}"] == 1)
                let bandwidth = try mount.text("sys/class/cdm/\(name)/link/read_bandwidth").dropLast()
                #expect(
                    samples["cdmfs_device_link_bandwidth_bytes{device=\"\(name)\",direction=\"read\"}"]
                        == Double(bandwidth)! * 1e6)
                #expect(samples["cdmfs_buffers"] == 1)
                #expect(samples["cdmfs_buffer_resident_bytes"] == 1_048_576)
                let named = samples.filter { $0.key.hasPrefix("cdmfs_buffer_node_bytes{buffer=\"a\",id=") }
                #expect(named.count == 1 && named.values.first == 1_048_576, "\(named)")
                try mount.store("0", in: "sys/kernel/cdm/buffers/a/migrate")
                let after = try self.samples(in: try mount.text("sys/kernel/cdm/metrics"))
                #expect(after["cdmfs_migrated_pages_total{from=\"4\",to=\"0\",reason=\"buffer\"}"] == 256)
                let wrong = try run([Host.cdmfs, "metrics", "/"])
                #expect(wrong.ending == .exited(32) && wrong.errors.split(separator: "\n").count == 1)
            }
        }

        /// Makes a buffer; the path of its policy.
        private func buffer(_ name: String, of mount: TestMount) throws -> String {
            _ = try run(["truncate", "-s", "1M", mount.path + "/buffers/" + name])
            return "sys/kernel/cdm/buffers/\(name)/policy"
        }

        /// The samples by name and labels. Every line is checked: a family has one HELP line, and at most one TYPE line, before
        /// its samples, which stand together.
        private func samples(in text: String) throws -> [String: Double] {
            var samples: [String: Double] = [:]
            var families: Set<Substring> = []
            var family: Substring = ""
            for line in text.split(separator: "\n").dropLast() {
                if let help = line.wholeMatch(of: /# (HELP|TYPE) (cdmfs_[a-z_]+) .+/) {
                    if help.2 != family {
                        #expect(families.insert(help.2).inserted, "\(line)")
                        family = help.2
                    }
                    continue
                }
                let sample = try #require(
                    line.wholeMatch(of: /((cdmfs_[a-z_]+)(?:\{[^}]+\})?) ([0-9.e+-]+)/), "\(line)")
                #expect(sample.2 == family)
                samples[String(sample.1)] = Double(sample.3)
            }
            return samples
        }
    }
}
