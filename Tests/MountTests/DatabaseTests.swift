import CLinux
import Testing

extension Mounts {
    /// A program that knows nothing of cdmfs, LMDB, keeps its database in the memory of a device.
    @Suite("A database on a device")
    struct DatabaseTests {
        // The package is Debian's, and so for Debian's Python.
        private func command(_ file: String, _ count: Int) -> [String] {
            ["/usr/bin/python3", Client.database, file, "\(count)"]
        }

        @Test("LMDB gets its error when the link is cut, nobody else does, and it works again after a rescan")
        func cut() throws {
            try TestMount.with { bystander in
                let other = try Child(command(try bystander.makeBuffer("db", size: 0, policy: "bind:1"), 0))
                #expect(try other.line(within: 60) == "ready")
                try TestMount.with(checkingLeaks: false) { mount in
                    let file = try mount.makeBuffer("db", size: 0, policy: "bind:1")
                    let database = try Child(command(file, 0))
                    #expect(try database.line(within: 60) == "ready")
                    try mount.store("down", in: "sys/class/cdm/cdm0/link/state")
                    let outcome = try database.finish(within: 60)
                    #expect(
                        outcome.ending == .killed(SIGBUS) || outcome.ending == .exited(3),
                        "\(outcome.ending) \(outcome.errors)")
                    #expect(try !mount.pages("db", "lost").isEmpty)

                    for name in ["db", "db-lock"] { _ = unsafe unlink(mount.path + "/buffers/" + name) }
                    try mount.store("up", in: "sys/class/cdm/cdm0/link/state")
                    try mount.store("online", in: "sys/devices/system/memory/auto_online_blocks")
                    try mount.store("1", in: "sys/class/cdm/rescan")
                    let again = try run(command(try mount.makeBuffer("db", size: 0, policy: "bind:1"), 50), within: 60)
                    #expect(again.succeeded, "\(again.errors)")
                    #expect(again["transactions"] == 50)
                    #expect(try mount.placement("db")[1, default: 0] > 0)
                }
                other.kill(SIGKILL)
                #expect(try other.finish().ending == .killed(SIGKILL))
            }
        }
    }
}
