import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// The HMM test devices, which mirror the address space of whoever opens them.
    @Suite("HMM test device")
    struct MirrorTests {
        static let devices = (0..<4).map { "dev/hmm_dmirror\($0)" }

        private func run(
            _ mount: TestMount, _ device: Int, _ arguments: Any..., within seconds: Double = 60
        ) throws -> Outcome {
            let command = try Client.dmirror.command(["\(mount.path)/\(Self.devices[device])"] + arguments)
            let outcome = try MountTests.run(command, within: seconds)
            try #require(outcome.succeeded, "\(arguments): \(outcome.errors) \(outcome.ending)")
            return outcome
        }

        @Test("What is malformed or forbidden has its errno and changes nothing")
        func errnos() throws {
            try TestMount.with { mount in
                for device in [0, 2] {
                    let outcome = try run(mount, device, "errnos")
                    #expect(outcome["wrong"] == 0, "\(outcome.errors)")
                }
            }
        }

        @Test("A touch by the CPU brings back just the page that it touched", arguments: [1, 2])
        func touch(seed: Int) throws {
            try TestMount.with { mount in
                let hidden = try run(mount, 0, "touch", seed)
                #expect(hidden["wrong"] == 0, "\(hidden.output)")
                #expect(hidden["back"] ?? 0 > 100 && hidden["local"] ?? 0 > 100)
                let coherent = try run(mount, 2, "touch", seed)
                #expect(coherent["wrong"] == 0 && coherent["back"] == 0, "\(coherent.output)")
            }
        }

        @Test("The CPU and two mirrors see one memory", arguments: [3, 4])
        func model(seed: Int) throws {
            try TestMount.with { mount in
                for device in [1, 3] { _ = try run(mount, device, "model", seed) }
            }
        }

        @Test("A mirror is of the process that opened it, for as long as that runs its program")
        func opener() throws {
            try TestMount.with { mount in
                _ = try run(mount, 0, "fork")
                let outcome = try run(mount, 0, "exec")
                #expect(outcome["wrong"] == 0, "\(outcome.errors)")
            }
        }

        @Test("Buffers of the mount are read, but not written, for that would wait for the mount")
        func own() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 1 << 16)
                let outcome = try run(mount, 0, "own", file)
                #expect(outcome["wrong"] == 0, "\(outcome.errors)")
            }
        }

        @Test("Pages on a device take frames of its node; where that is full it is ENOMEM, and nothing has gone")
        func frames() throws {
            try TestMount.with { mount in
                for device in [0, 2] {
                    let hits = try mount.allocations(1)
                    let client = try Client.dmirror.start("\(mount.path)/\(Self.devices[device])", "take", 1000)
                    #expect(try client.line() == "errno=0 local=1000")
                    #expect(try mount.meminfo(1)["MemUsed"] == 4000)
                    #expect(try mount.allocations(1) == hits + 1000)
                    let full = try Client.dmirror.start("\(mount.path)/\(Self.devices[device + 1])", "take", 64537)
                    #expect(try full.line() == "errno=\(ENOMEM) local=0")
                    #expect(try mount.meminfo(1)["MemUsed"] == 4000)
                    full.kill(SIGKILL)
                    _ = try full.finish()
                    let big = try Client.dmirror.start("\(mount.path)/\(Self.devices[device + 1])", "take", 64536)
                    #expect(try big.line() == "errno=0 local=64536")
                    #expect(try mount.meminfo(1)["MemFree"] == 0)
                    for client in [client, big] {
                        client.kill(SIGKILL)
                        _ = try client.finish()
                    }
                    #expect(try eventually { try mount.meminfo(1)["MemUsed"] == 0 })
                }
            }
        }

        @Test("What is on a device comes back when its memory goes", arguments: ["offline", "poison", "down"])
        func evicted(how: String) throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let client = try Client.dmirror.start("\(mount.path)/\(Self.devices[2])", "take", 1000)
                #expect(try client.line() == "errno=0 local=1000")
                switch how {
                case "offline": try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                // The device's only frames in use are those.
                case "poison":
                    for address in stride(from: 0, to: 16 << 20, by: 1 << 20) {
                        try mount.store("\(address)", in: TestMount.debug + "/inject_poison")
                    }
                default: try mount.store("down", in: "sys/class/cdm/cdm0/link/state")
                }
                client.kill(SIGUSR1)
                #expect(try client.line() == " local=0")
                client.kill(SIGKILL)
                _ = try client.finish()
                #expect(try eventually { try mount.meminfo(0)["MemUsed"] == 0 })
                let again = try Client.dmirror.start("\(mount.path)/\(Self.devices[2])", "take", 10)
                #expect(try again.line() == (how == "poison" ? "errno=0 local=10" : "errno=\(ENOMEM) local=0"))
                again.kill(SIGKILL)
                _ = try again.finish()
            }
        }

        @Test("One user's mirrors are limited, and given back")
        func many() throws {
            try TestMount.with { mount in
                for _ in 0..<4 {
                    // The kernel releases files some time after they are closed.
                    let isGivenBack = try eventually {
                        let outcome = try run(mount, 1, "many")
                        return outcome["opened"] == 32 && outcome["errno"] == Int(EMFILE)
                    }
                    #expect(isGivenBack)
                }
            }
        }

        @Test("Whoever is killed while the device waits for a page of theirs ends")
        func killed() throws {
            try TestMount.with { mount in
                let client = try stuck(mount)
                client.kill(SIGKILL)
                #expect(try client.finish().ending == .killed(SIGKILL))
                _ = try run(mount, 0, "fork")
            }
        }

        @Test("Whoever waits for a page that never comes does not keep the daemon from ending")
        func ended() throws {
            try TestMount.with(endsItself: true) { mount in
                let client = try stuck(mount)
                kill(try #require(mount.daemons().first), SIGTERM)
                #expect(eventually(within: 20) { !TestMount.isMounted(mount.path) && mount.daemons().isEmpty })
                client.kill(SIGKILL)
                #expect(try client.finish().ending == .killed(SIGKILL))
            }
        }

        private func stuck(_ mount: TestMount) throws -> Child {
            let client = try Client.dmirror.start("\(mount.path)/\(Self.devices[0])", "stuck")
            #expect(try client.line() == "ready")
            return client
        }

        @Test("Threads that map, unmap and touch while the device works do the daemon no harm")
        func storm() throws {
            try TestMount.with { mount in
                _ = try run(mount, 0, "storm", 2)
                _ = try run(mount, 2, "fork")
            }
        }
    }
}
