import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// The command: its exit statuses, its one-line errors, and its daemon.
    @Suite("Command")
    struct CommandTests {
        /// A failure says why in one line on stderr and nothing on stdout.
        private func expectFailure(
            _ command: [String], status: Int32? = nil, sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            let outcome = try run(command)
            if let status {
                #expect(outcome.ending == .exited(status), "\(command)", sourceLocation: sourceLocation)
            }
            #expect(!outcome.succeeded, "\(command)", sourceLocation: sourceLocation)
            #expect(outcome.output == "", sourceLocation: sourceLocation)
            let lines = outcome.errors.split(separator: "\n")
            #expect(lines.count == 1, "\(outcome.errors)", sourceLocation: sourceLocation)
        }

        @Test("The daemon lives on by itself")
        func daemonizing() throws {
            try TestMount.with { mount in
                let daemons = mount.daemons()
                try #require(daemons.count == 1)
                let daemon = daemons[0]
                #expect(try mount.word("sys/kernel/cdm/pid") == "\(daemon)")
                #expect(getsid(daemon) == daemon || getsid(daemon) != getsid(0))
                #expect(FilePath(resolving: "/proc/\(daemon)/cwd") == "/")
                for descriptor in 0...2 {
                    #expect(FilePath(resolving: "/proc/\(daemon)/fd/\(descriptor)") == "/dev/null")
                }
            }
        }

        @Test("--foreground stays until a signal or an unmount", arguments: [SIGTERM, SIGINT, 0])
        func foreground(signal: Int32) throws {
            try TestMount.unmounted { mount in
                let daemon = try Child(mount.command(flags: ["--foreground"]), environment: mount.environment)
                #expect(eventually { TestMount.isMounted(mount.path) && (try? mount.nodes()) == [0, 1] })
                if signal == 0 {
                    let outcome = try run([Host.cdmfs, "unmount", mount.path])
                    #expect(outcome.succeeded, "\(outcome.errors)")
                } else {
                    kill(daemon.pid, signal)
                }
                let outcome = try daemon.finish()
                #expect(outcome.ending == .exited(0), "\(outcome.errors)")
                #expect(!TestMount.isMounted(mount.path))
            }
        }

        @Test("mount -t cdmfs, through the helper")
        func mountHelper() throws {
            let link = "/sbin/mount.cdmfs"
            let helper = Host.package.appending("mount-scripts/mount.cdmfs").string
            let isOurs = (try? status(link)) == nil
            if isOurs { try check(unsafe symlink(helper, link)) }
            defer { if isOurs { unsafe unlink(link) } }
            try TestMount.unmounted { mount in
                let outcome = try run(
                    ["mount", "-t", "cdmfs", "-o", "noatime,topology=\(mount.topologyFile)", "none", mount.path],
                    environment: mount.environment)
                try #require(outcome.succeeded, "\(outcome.errors)")
                #expect(try mount.meminfo(1)["MemTotal"] == Machines.nodeSize / 1024)
                let unmount = try run(["umount", mount.path])
                #expect(unmount.succeeded, "\(unmount.errors)")
            }
        }

        @Test("The file system's type is fuse.cdmfs")
        func type() throws {
            try TestMount.with { mount in
                let table = try procfs("self/mountinfo")
                let line = table.split(separator: "\n").first { $0.contains(" \(mount.path) ") }
                #expect(line?.contains(" - fuse.cdmfs ") == true)
            }
        }

        @Test("--log FILE")
        func log() throws {
            try TestMount.unmounted { mount in
                let file = mount.topologyFile + ".log"
                let outcome = try run(mount.command(flags: ["--log", file]), environment: mount.environment)
                try #require(outcome.succeeded, "\(outcome.errors)")
                #expect(throws: Never.self) { try status(file) }
                #expect(try run([Host.cdmfs, "unmount", mount.path]).succeeded)
            }
        }

        @Test("Mounting where it cannot be")
        func mountPoints() throws {
            try TestMount.unmounted { mount in
                let mountCommand = mount.command().dropLast()
                try expectFailure(mountCommand + [mount.topologyFile])
                try expectFailure(mountCommand + [mount.path + "/missing"])
                try expectFailure(mountCommand + [""])
                try expectFailure(mountCommand + ["/proc/self/status"])
                #expect(mount.daemons().isEmpty)
            }
        }

        @Test("Wrong options, files and words")
        func usage() throws {
            try TestMount.unmounted { mount in
                try expectFailure(mount.command(options: ["nonsense"]), status: 64)
                try expectFailure(mount.command(options: ["fault_around=3"]), status: 64)
                try expectFailure(mount.command(options: ["huge=advise"]), status: 64)
                try expectFailure(mount.command(options: ["numa_balancing=4"]), status: 64)
                for option in ["mapping", "topology=", "transport", "fault_around", "huge", "numa_balancing"] {
                    let outcome = try run(mount.command(options: [option]))
                    let key = option.split(separator: "=")[0]
                    #expect(
                        outcome.ending == .exited(64) && outcome.errors.contains("without a value; expected \(key)="))
                }
                try expectFailure([Host.cdmfs, "topology", "--preset", "nonsense"], status: 64)
                try expectFailure([Host.cdmfs, "topology", "--check", mount.path + "/missing"])
                try expectFailure([Host.cdmfs, "mount", "--topology", mount.path + "/missing", mount.path])
                try expectFailure([Host.cdmfs, "unmount", mount.path])
                try expectFailure([Host.cdmfs, "unmount", mount.path + "/missing"])
                // No name is no name of the root.
                #expect(try run([Host.cdmfs, "unmount", ""]).errors.contains("No such file"))
                for wrong in [
                    ["nonsense"], ["--nonsense"], ["mount"], ["mount", "--nonsense", "/x"], ["mount", "/x", "/y"],
                    ["mount", "-o"], ["unmount"], ["run"], ["topology", "--list", "--preset", "default"],
                ] {
                    try expectFailure([Host.cdmfs] + wrong, status: 64)
                }
                #expect(!TestMount.isMounted(mount.path))
            }
        }

        @Test("Who holds the connection of a mount that is gone is not taken for the daemon of the next one")
        func staleHolder() throws {
            let script = """
                import ctypes, os, signal, sys
                call = ctypes.CDLL(None).syscall
                daemon = sys.argv[1]
                handle = call(434, int(daemon), 0) # pidfd_open
                held = 0
                for name in os.listdir(f'/proc/{daemon}/fd'):
                    try: target = os.readlink(f'/proc/{daemon}/fd/{name}')
                    except FileNotFoundError: continue # closed meanwhile
                    if target == '/dev/fuse':
                        assert call(438, handle, int(name), 0) >= 0 # pidfd_getfd
                        held += 1
                assert held > 0
                open('/proc/self/comm', 'w').write('cdmfs')
                print('ready', flush=True)
                signal.pause()
                """
            var device: dev_t = 0
            var holder: Child?
            try TestMount.with(endsItself: true) { mount in
                let child = try Child(["python3", "-c", script, "\(try #require(mount.daemons().first))"])
                #expect(try child.line() == "ready")
                holder = child
                device = try status(mount.path).st_dev
                let unmount = try run([Host.cdmfs, "unmount", mount.path])
                #expect(unmount.succeeded && unmount.errors.isEmpty, "\(unmount.errors)")
            }
            try TestMount.with(endsItself: true) { mount in
                // Unless the kernel has given the number to somebody else.
                let isSame = try status(mount.path).st_dev == device
                let unmount = try run([Host.cdmfs, "unmount", mount.path])
                #expect(unmount.succeeded && unmount.errors.isEmpty, "\(isSame) \(unmount.errors)")
            }
            holder?.kill(SIGKILL)
            _ = try holder?.finish()
        }

        @Test("Unmounting leaves foreign file systems alone")
        func foreign() throws {
            try TestMount.unmounted { mount in
                try #require(try run(["mount", "-t", "tmpfs", "none", mount.path]).succeeded)
                defer { _ = unsafe umount2(mount.path, 0) }
                try expectFailure([Host.cdmfs, "unmount", mount.path])
                #expect(TestMount.isMounted(mount.path))
            }
        }

        @Test("The help of each command fits a terminal of 80 columns, and names the exit statuses")
        func help() throws {
            let commands = try commandNames()
            #expect(commands.count >= 8 && commands.contains("set"), "\(commands)")
            for arguments in [[]] + commands.map({ [$0] }) {
                let outcome = try run([Host.cdmfs] + arguments + ["--help"])
                #expect(outcome.succeeded && outcome.output.contains("USAGE"), "\(arguments)")
                let wide = outcome.output.split(separator: "\n").filter { $0.count > 80 }
                #expect(wide.isEmpty, "\(arguments): \(wide)")
                let words = outcome.output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
                #expect(words.contains("Exit status: 0 ") || words.contains("exit status is "), "\(arguments)")
            }
        }

        @Test("topology prints what mounts, and says so of a file")
        func topology() throws {
            try TestMount.unmounted { mount in
                let printed = try run([Host.cdmfs, "topology"])
                try #require(printed.succeeded, "\(printed.errors)")
                #expect(printed.output == (try run([Host.cdmfs, "topology", "--preset", "default"]).output))
                try printed.output.write(toFile: mount.topologyFile, atomically: false, encoding: .utf8)
                #expect(try run([Host.cdmfs, "topology", "--check", mount.topologyFile]).succeeded)
                try #require(try run(mount.command(), environment: mount.environment).succeeded)
                #expect(try mount.meminfo(0)["MemTotal"] == 4 << 20)
                #expect(try mount.meminfo(1)["MemTotal"] == 1 << 20)
                #expect(try mount.text("sys/devices/system/memory/block_size_bytes") == "8000000\n")
                #expect(try mount.text("sys/devices/system/node/node1/cdm/isolation").contains("[exclusive]"))
                #expect(try run([Host.cdmfs, "unmount", mount.path]).succeeded)
            }
        }
    }
}
