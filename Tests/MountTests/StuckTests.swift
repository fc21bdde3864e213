import CLinux
import Foundation
import SystemPackage
import Testing

private let blockers = "sys/devices/system/node/node1/cdm/blockers"

extension Mounts {
    /// Processes that keep their address spaces locked, and so whatever of /proc/PID wants to look into those; and users who take
    /// all threads for themselves.
    @Suite("Users who hold others up")
    struct StuckTests {
        /// A user's process that maps a buffer, if any, and keeps its address space locked.
        private func makeStuck(_ mount: TestMount, _ number: Int, _ words: [String] = []) throws -> Child {
            let folder = FilePath(mount.topologyFile).removingLastComponent()
            let device = folder.appending("fuse").string
            if (try? status(device)) == nil {
                try check(unsafe mknod(device, S_IFCHR | 0o666, 10 << 8 | 229))
                try check(unsafe chmod(device, 0o666))
                try mount.letOthersIn()
            }
            let file = folder.appending("stuck\(number)").string
            try check(unsafe close(open(file, O_CREAT | O_RDWR, 0o666)))
            try check(unsafe chmod(file, 0o666))
            let user = ["setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups"]
            let child = try Child(user + Client.stuck.command([file] + words), environment: ["FUSE_DEVICE": device])
            #expect(try child.line() == "ready")
            return child
        }

        private func makePinned(_ mount: TestMount, _ name: String = "a") throws -> String {
            let file = try mount.makeBuffer(name, size: 64 << 10, policy: "bind:1")
            try check(unsafe chmod(file, 0o666))
            try mount.store("1", in: mount.control(name) + "/pinned")
            return file
        }

        private func release(_ children: [Child]) throws {
            for child in children { child.kill(SIGKILL) }
            for child in children { _ = try child.finish() }
        }

        private func threads(_ mount: TestMount) throws -> Int {
            let daemon = try #require(mount.daemons().first)
            return try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon)/task").count
        }

        @Test("A process that keeps its address space locked holds nobody up")
        func reads() throws {
            try TestMount.with { mount in
                let file = try makePinned(mount)
                let children = try [
                    makeStuck(mount, 0, [file]), makeStuck(mount, 1, [file, "close"]), makeStuck(mount, 2),
                    makeStuck(mount, 3, [file]), makeStuck(mount, 4, [file]),
                ]
                defer { try? release(children) }
                let honest = try Client.increment.start(file, "64K", 1)
                #expect(try honest.line() == "ready")
                let before = try threads(mount)

                // Who has it open is suspected, and that somebody else does not say is told.
                let lines = try timed { try mount.text(blockers).split(separator: "\n") }
                let words = Set(lines.flatMap { $0.split(separator: " ").last!.split(separator: ",").map(String.init) })
                let suspects = [0, 1, 3, 4].map { "\(children[$0].pid)?" }
                #expect(words == Set(suspects + ["\(honest.pid)", "?"]))

                let stuck = children[2].pid
                timed {
                    #expect(throws: Errno.timedOut) {
                        try mount.store("\(stuck) 0 1", in: "sys/kernel/cdm/migrate_pages")
                    }
                }
                try timed {
                    try mount.store("\(stuck)", in: "sys/kernel/cdm/numa_maps")
                    #expect(throws: Errno.timedOut) { try mount.text("sys/kernel/cdm/numa_maps") }
                }
                timed {
                    #expect(throws: Errno.timedOut) {
                        try mount.store("\(stuck),0x1000,0x2000,1", in: "sys/kernel/debug/coherent_debug")
                    }
                }
                try timed { try mount.store("\(honest.pid) 0 0", in: "sys/kernel/cdm/migrate_pages") }
                try timed {
                    try FileManager.default.createDirectory(
                        atPath: mount.path + "/sys/fs/cgroup/g", withIntermediateDirectories: false)
                    try mount.store("\(stuck)", in: "sys/fs/cgroup/g/cgroup.procs")
                    try mount.store("0", in: "sys/fs/cgroup/g/cpuset.mems")
                    try mount.store("\(stuck)", in: "sys/fs/cgroup/cgroup.procs")
                    try check(unsafe rmdir(mount.path + "/sys/fs/cgroup/g"))
                }

                // However many ask.
                let readers = try Child([
                    "sh", "-c",
                    "for i in $(seq 130); do cat \(mount.path)/\(blockers) > /dev/null & done; echo ready; wait; echo done",
                ])
                #expect(try readers.line() == "ready")
                let now = try threads(mount)
                // Threads of the pools that have just ended, and come again, are among them.
                #expect(now < before + 32, "\(before) and then \(now)")
                #expect(try readers.line() == "done")
                #expect(try readers.finish().succeeded)

                honest.kill(SIGTERM)
                #expect(try honest.finish().succeeded)
                try release(children)
                #expect(try eventually { try !mount.text(blockers).contains("?") })
            }
        }

        @Test(
            "A device goes, by force or with its link, whatever those do who map its memory",
            arguments: ["force", "link"])
        func device(how: String) throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let file = try makePinned(mount)
                let children = try [
                    makeStuck(mount, 0, [file]), makeStuck(mount, 1, [file, "close"]), makeStuck(mount, 2),
                ]
                defer { try? release(children) }
                let honest = try Client.increment.start(file, "64K", 1)
                #expect(try honest.line() == "ready")
                if how == "force" {
                    try timed(within: 3) { try mount.store("force", in: "sys/class/cdm/cdm0/remove") }
                } else {
                    try mount.store("sigkill", in: "sys/class/cdm/cdm0/link/on_loss")
                    try timed(within: 3) { try mount.store("down", in: "sys/class/cdm/cdm0/link/state") }
                }
                #expect(try mount.text("sys/devices/system/node/online") == "0\n")
                #expect(try honest.finish().ending == .killed(SIGKILL))
                // They have their signal, though they wait in the kernel; who had nothing to do with it has none.
                for (child, isMeant) in zip(children, [true, true, false]) {
                    let status = try procfs("\(child.pid)/status").split(separator: "\n")
                    let pending = status.first { $0.hasPrefix("ShdPnd:") }?.split(separator: "\t").last
                    let isKilled = (UInt64(pending ?? "", radix: 16) ?? 0) >> (SIGKILL - 1) & 1 == 1
                    let isDying = status.contains { $0.hasPrefix("State:") && !$0.contains("S (") }
                    #expect((isKilled || isDying) == isMeant, "\(child.pid)")
                }
            }
        }

        @Test("A buffer becomes tracked again though a process of somebody else does not say what it maps")
        func mapping() throws {
            try TestMount.with(options: ["mapping=direct"]) { mount in
                let mine = try mount.makeBuffer("mine", size: 64 << 10)
                let ours = try mount.makeBuffer("ours", size: 64 << 10)
                try check(unsafe chmod(mine, 0o600))
                try check(unsafe chmod(ours, 0o666))
                let stuck = try makeStuck(mount, 0)
                defer { try? release([stuck]) }
                try timed { try mount.store("tracked", in: mount.control("mine") + "/mapping") }
                // That one it may have mapped.
                timed {
                    #expect(throws: Errno.resourceBusy) {
                        try mount.store("tracked", in: mount.control("ours") + "/mapping")
                    }
                }
                try release([stuck])
                try mount.store("tracked", in: mount.control("ours") + "/mapping")
            }
        }

        @Test("Long migrations of one user leave root a place at once, and others, too")
        func slots() throws {
            try TestMount.with(Machines.four) { mount in
                for figure in ["read", "write"] {
                    try mount.store("1", in: "sys/class/cdm/cdm0/link/\(figure)_bandwidth")
                }
                try mount.store("real", in: "sys/class/cdm/cdm0/link/pace")
                let file = try mount.makeBuffer("root", size: 4096)
                try mount.fill(file, limit: 4096)
                try mount.letOthersIn()
                let script = """
                    import os, threading
                    os.setgroups([]); os.setgid(1234); os.setuid(1234)
                    files = []
                    for index in range(140):
                        file = os.open(f'\(mount.path)/buffers/a{index}', os.O_RDWR | os.O_CREAT)
                        os.ftruncate(file, 256 << 10)
                        os.pwrite(file, bytes(256 << 10), 0)
                        files.append(file)
                    refused = 0
                    def move(file):
                        global refused
                        try: os.setxattr(file, 'user.cdm.migrate', b'4')
                        except InterruptedError: pass
                        except OSError: refused += 1
                    for file in files: threading.Thread(target=move, args=[file]).start()
                    print('ready', refused, flush=True)
                    """
                let flood = try Child(["python3", "-c", script])
                #expect(try flood.line().hasPrefix("ready "))
                let running = try mount.text("sys/kernel/cdm/jobs").split(separator: "\n").filter {
                    $0.hasSuffix("running")
                }
                #expect(running.count <= 32 && running.count > 8, "\(running.count)")
                // Not through the link that the others have taken.
                try timed(within: 0.5) { try mount.store("5", in: mount.control("root") + "/migrate") }
                #expect(try mount.placement("root") == [5: 1])
                let other = try run(
                    [
                        "setpriv", "--reuid", "4321", "--regid", "4321", "--clear-groups", "/usr/bin/python3", "-c",
                        """
                        import os
                        file = os.open('\(mount.path)/buffers/other', os.O_RDWR | os.O_CREAT)
                        os.write(file, b'x')
                        os.setxattr(file, 'user.cdm.migrate', b'5')
                        """,
                    ], within: 30)
                #expect(other.succeeded, "\(other.errors)")
                #expect(try mount.placement("other") == [5: 1])
                flood.kill(SIGKILL)
                _ = try flood.finish()
            }
        }
    }
}

/// Runs `body`, which is to return within a second or so many.
@discardableResult
private func timed<Result>(
    within seconds: Double = 1.5, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Result
) rethrows -> Result {
    let start = ContinuousClock.now
    defer {
        #expect(.now - start < .seconds(seconds), sourceLocation: sourceLocation)
    }
    return try body()
}
