import Foundation
import SystemPackage
import Testing

/// Memory without a file that programs share; ProgramMemoryTests has what holds for it as for other memory.
extension Mounts.ProgramMemoryTests {
    @Test("Shared memory without a file is one memory, whoever touches it, and goes with its last mapping")
    func sharedMemory() throws {
        try TestMount.with { mount in
            expect(try run(command(mount, "shared")))
            try expectNothingLeft(of: mount)
            #expect(try mount.meminfo(0)["FilePages"] == 0)
        }
    }

    @Test("Shared memory counts for each task that maps it, and once for its node")
    func tasksOfSharedMemory() throws {
        try TestMount.with { mount in
            let program = try Child(command(.shared, mount, "forks", "8M"))
            let line = try program.line()
            let child = try #require(pid_t(line.split(separator: "=").last ?? ""), "\(line)")
            #expect(try mount.meminfo(1)["Shmem"] == 8 << 10)
            for process in [program.pid, child] {
                let folder = "sys/kernel/cdm/tasks/\(process)"
                #expect(try mount.text("\(folder)/placement").hasSuffix("N1=2048\n"))
                #expect(try Int(mount.word("\(folder)/resident")) ?? 0 >= 8 << 20)
                #expect(try mount.text("\(folder)/policy").hasSuffix(" 0x800000 bind:1\n"))
            }
            try mount.store("\(child) 1 0", in: "sys/kernel/cdm/migrate_pages")
            #expect(try mount.meminfo(1)["Shmem"] == 0)
            #expect(!(try mount.text("sys/kernel/cdm/tasks/\(program.pid)/placement")).contains("N1="))
            program.kill(SIGTERM)
            _ = try program.finish()
            try expectNothingLeft(of: mount)
        }
    }

    @Test("Pages that a fork shares count once, until somebody stores to them")
    func sharing() throws {
        try TestMount.with { mount in
            let program = try Child(command(mount, "forks", "8M"))
            let line = try program.line()
            let child = try #require(pid_t(line.split(separator: "=").last ?? ""), "\(line)")
            let isShared = try eventually { try mount.meminfo(1)["AnonPages"] == 8 << 10 }
            let kilobytes = try mount.meminfo(1)["AnonPages"] ?? -1
            #expect(isShared, "\(kilobytes) kB")
            #expect(!(try mount.text("sys/kernel/cdm/tasks/\(child)/placement")).contains("N1="))
            kill(child, SIGUSR1)
            #expect(try eventually { try mount.meminfo(1)["AnonPages"] == 16 << 10 })
            #expect(try mount.text("sys/kernel/cdm/tasks/\(child)/placement").contains("N1=2048"))
            program.kill(SIGTERM)
            _ = try program.finish()
            try expectNothingLeft(of: mount)
        }
    }
}
