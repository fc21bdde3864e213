import Foundation
import SystemPackage
import Testing

/// What others are told of the memory of programs; ProgramMemoryTests has the memory.
extension Mounts.ProgramMemoryTests {
    @Test("numa_maps of a program has its memory, also for who asks from outside", arguments: Kind.allCases)
    func maps(_ kind: Kind) throws {
        try TestMount.with { mount in
            let program = try Child(command(kind, mount, "hold", "1M", numactl: ["--membind=1"]))
            #expect(try program.line() == "ok")
            try mount.store("\(program.pid)", in: "sys/kernel/cdm/numa_maps")
            let lines = try mount.text("sys/kernel/cdm/numa_maps").split(separator: "\n")
            let wanted =
                kind == .own
                ? "bind:1 anon=256 dirty=256 active=0 N1=256 kernelpagesize_kB=4"
                : "bind:1 file=/dev/zero\\040(deleted) mapped=256 N1=256 kernelpagesize_kB=4"
            let held = lines.first { $0.hasSuffix(" " + wanted) }
            #expect(held != nil, "\(lines)")
            #expect(lines.contains { $0.contains(" bind:1 stack anon=") }, "\(lines)")
            #expect(!lines.contains { $0.contains(" N0=") }, "\(lines)")
            // What is left of the host are files and what is stored over them.
            let printed = try run([Host.cdmfs, "numa_maps", "\(program.pid)"])
            #expect(printed.errors == "")
            let all = printed.output.split(separator: "\n")
            #expect(all.contains { $0 == held }, "\(all)")
            #expect(!all.contains { $0.contains(" N0=") && !$0.contains(" file=") }, "\(all)")
            program.kill(SIGTERM)
            _ = try program.finish()
            try expectNothingLeft(of: mount)
        }
    }
}
