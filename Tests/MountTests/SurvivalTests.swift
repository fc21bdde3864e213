import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// What happens when the daemon or the mount goes away under its users.
    @Suite("Survival", .overEachTransport)
    struct SurvivalTests {
        @Test("kill -9 of the daemon under load")
        func killedDaemon() throws {
            try TestMount.with(endsItself: true) { mount in
                let a = try mount.makeBuffer("a", size: 64 << 20), b = try mount.makeBuffer("b", size: 16 << 20)
                let faulting = try Client.fault.start(a, "64M", 4), resident = try Client.increment.start(b, "16M", 1)
                #expect(try faulting.line() == "ready")
                #expect(try resident.line() == "ready")
                try mount.killDaemon()

                // An untouched page is SIGBUS, a call is ENOTCONN; neither hangs.
                let ending = try faulting.finish().ending
                #expect([.killed(SIGBUS), .exited(1)].contains(ending), "\(ending)")
                #expect(throws: Errno.socketNotConnected) { try status(mount.path + "/buffers/b") }
                #expect(throws: Errno.socketNotConnected) { try mount.text("sys/devices/system/node/online") }

                // Resident pages stay readable until unmapped.
                resident.kill(SIGTERM)
                let outcome = try resident.finish()
                #expect(outcome.succeeded, "\(outcome.ending) \(outcome.output) \(outcome.errors)")

                let unmount = try run([Host.cdmfs, "unmount", mount.path])
                #expect(unmount.succeeded, "\(unmount.errors)")
                #expect(!TestMount.isMounted(mount.path))
            }
        }

        @Test("A fault of the daemon's own is the last line of its log, and ends it")
        func faultyDaemon() throws {
            try TestMount.unmounted { mount in
                let log = mount.topologyFile + ".log"
                let mounted = try run(mount.command(flags: ["--log", log]))
                try #require(mounted.succeeded, "\(mounted.errors)")
                let daemon = try #require(mount.daemons().first)
                kill(daemon, SIGSEGV)
                #expect(try eventually { try mount.daemons().isEmpty })
                let last = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n").last ?? ""
                #expect(last == "cdmfs[\(daemon)] critical: SIGSEGV ends the daemon, by a fault of its own")
                let unmount = try run([Host.cdmfs, "unmount", mount.path])
                #expect(unmount.succeeded, "\(unmount.errors)")
            }
        }

        @Test("kill -9 of the daemon during a migration")
        func killedWhileMigrating() throws {
            try TestMount.with(Machines.large, endsItself: true) { mount in
                let file = try mount.makeBuffer("a", size: 512 << 20)
                try Client.pattern("store", file, 0, "512M", 4)
                let shell = try Child(["sh", "-c", "echo ready; echo 1 > \(mount.path)/\(mount.control("a"))/migrate"])
                #expect(try shell.line() == "ready")
                usleep(50_000)
                for daemon in mount.daemons() { kill(daemon, SIGKILL) }
                _ = try shell.finish()
                #expect(eventually { mount.daemons().isEmpty })
                let unmount = try run([Host.cdmfs, "unmount", mount.path])
                #expect(unmount.succeeded, "\(unmount.errors)")
            }
        }

        @Test("Unmounting while busy is refused in one line, and the mount goes on")
        func busy() throws {
            try TestMount.with { mount in
                let user = try Child(["sh", "-c", "cd \(mount.path)/buffers && echo ready && exec sleep 1000"])
                #expect(try user.line() == "ready")
                let outcome = try run([Host.cdmfs, "unmount", mount.path])
                #expect(outcome.ending == .exited(32))
                #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
                #expect(try mount.text("sys/devices/system/node/online") == "0-1\n")
                user.kill(SIGKILL)
                _ = try user.finish()
            }
        }

        @Test("A lazy unmount ends the daemon when the last user is gone")
        func lazyUnmount() throws {
            try TestMount.with(endsItself: true) { mount in
                let file = try mount.makeBuffer("a", size: 16 << 20)
                let client = try Client.increment.start(file, "16M", 1)
                #expect(try client.line() == "ready")
                try check(unsafe umount2(mount.path, Int32(MNT_DETACH)))
                client.kill(SIGTERM)
                let outcome = try client.finish()
                #expect(outcome.succeeded, "\(outcome.output) \(outcome.errors)")
            }
        }

        @Test("A forced unmount leaves no stuck process")
        func forcedUnmount() throws {
            try TestMount.with(endsItself: true) { mount in
                let file = try mount.makeBuffer("a", size: 64 << 20)
                let client = try Client.fault.start(file, "64M", 4)
                #expect(try client.line() == "ready")
                _ = unsafe umount2(mount.path, Int32(MNT_FORCE | MNT_DETACH))
                let ending = try client.finish().ending
                #expect([.killed(SIGBUS), .exited(1)].contains(ending), "\(ending)")
                #expect(eventually { mount.daemons().isEmpty })
            }
        }

        @Test("SIGTERM and SIGINT end the daemon cleanly, busy or not", arguments: [SIGTERM, SIGINT], [false, true])
        func signalled(signal: Int32, isBusy: Bool) throws {
            try TestMount.with(endsItself: true) { mount in
                let file = try mount.makeBuffer("a", size: 16 << 20)
                let client = isBusy ? try Client.increment.start(file, "16M", 1) : nil
                if let client { #expect(try client.line() == "ready") }
                let daemon = try #require(mount.daemons().first)
                kill(daemon, signal)
                #expect(eventually { !TestMount.isMounted(mount.path) })
                client?.kill(SIGKILL)
                _ = try client?.finish()
                #expect(eventually { mount.daemons().isEmpty })
            }
        }
    }
}
