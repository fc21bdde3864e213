import SystemPackage
import TestSupport
import Testing

extension Mounts {
    /// Memory of programs in huge pages (MAP_HUGETLB) under `cdmfs run`; Tests/Clients/huge.c has them.
    @Suite("Huge pages of programs", .enabled(if: Host.isRoot && Host.watchesAddressSpaces))
    struct HugeMemoryTests {
        private static let topology = TopologyText.file(
            block: "16M", [TopologyText.ram(0, "256M", cpus: "all"), TopologyText.ram(1, "256M")])

        @Test(
            "What mmap, touches, moves, forks and failures do to the pools is what Linux does",
            arguments: ["calls", "pools", "exhaust", "forks", "shared", "fail"])
        func figures(what: String) throws {
            try TestMount.with(Self.topology, checkingLeaks: what != "fail") { mount in
                let outcome = try run(
                    [Host.cdmfs, "run", "--mount", mount.path, "--"] + (try Client.huge.command([what])))
                #expect(outcome.output == "ok\n", "\(outcome.errors)")
                #expect(outcome.errors == "" && outcome.ending == .exited(0))
                // All pages come back with the end of the program.
                let folder = "sys/kernel/mm/hugepages/hugepages-2048kB"
                #expect(
                    try eventually {
                        try mount.word("\(folder)/free_hugepages") == mount.word("\(folder)/nr_hugepages")
                            && mount.word("\(folder)/resv_hugepages") == "0"
                    })
                try mount.store("0", in: "\(folder)/nr_hugepages")
                #expect(try mount.word("\(folder)/nr_hugepages") == "0")
            }
        }
    }
}
