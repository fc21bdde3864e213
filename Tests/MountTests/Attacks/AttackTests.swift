import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// What two unprivileged users can do to each other, to root and to the daemon: after each attack the daemon lives, its memory,
    /// descriptors and threads are where they were, the other user's bytes are as they were, and root's controls have answered
    /// within a second throughout.
    ///
    /// `CDMFS_ATTACK_CALLS` makes the random calls more, each of four processes' so many.
    @Suite("Attacks", .enabled(if: Host.has("setpriv"), "util-linux has setpriv"))
    struct AttackTests {
        private static let attacks: [Attack] = [
            Attack(name: "openers", count: 100, kilobytes: 96 << 10, descriptors: 600),
            Attack(name: "deep", count: 100_000, isRefused: true, meanwhile: readBlockers),
            Attack(name: "long", count: 3000, isRefused: true, meanwhile: readBlockers),
            Attack(name: "trees", count: 40, isRefused: true, meanwhile: readBlockers),
            Attack(name: "files", count: 20_000),
            Attack(name: "uevents", count: 4000, descriptors: 600),
            Attack(name: "pages", count: 300),
            Attack(name: "pins", count: 256, machine: Machines.small, isRefused: true, meanwhile: allocateOnDevice),
            Attack(name: "direct", count: 2000, descriptors: 600, isRefused: true),
            Attack(name: "mirrors", count: 1000, descriptors: 600, threads: 96, isRefused: true, meanwhile: fillQueue),
            Attack(name: "moves", count: 64, threads: 96),
            Attack(name: "fill", count: 1024, isRefused: true),
        ]

        @Test("An attack is survived", arguments: attacks)
        func survived(attack: Attack) throws {
            try Battlefield.with(attack.machine) { field in
                let client = try field.start(attack)
                let line = try client.line(within: 90)
                if attack.isRefused { #expect(!line.hasSuffix(" errno=0"), "nothing was refused: \(line)") }
                try attack.meanwhile(field.mount)
                try field.expectBounded(attack)
                client.kill(SIGKILL)
                _ = try client.finish()
            }
        }

        @Test("Root's page goes over a paced link between the slices of another user's long moves")
        func pacedLink() throws {
            try Battlefield.with(Machines.small) { field in
                let (mount, link) = (field.mount, "sys/class/cdm/cdm0/link")
                // A mebibyte takes a fifth of a second, and a page a millisecond.
                for figure in ["read", "write"] { try mount.store("5", in: "\(link)/\(figure)_bandwidth") }
                try mount.store("real", in: "\(link)/pace")
                let client = try field.start(Attack(name: "waits", count: 24))
                _ = try client.line(within: 90)
                let engine = "sys/class/cdm/cdm0/dma"
                #expect(try eventually { try Int(mount.word("\(engine)/queued")) ?? 0 > 8 })
                let times = try (0..<21).map { turn in
                    let start = ContinuousClock.now
                    try mount.store("0 4096 \((turn + 1) % 2)", in: mount.control("root") + "/migrate")
                    return ContinuousClock.now - start
                }.sorted()
                // But for one in ten: this machine may have other things to do, too.
                #expect(times[18] < .milliseconds(100), "\(times)")
                try mount.store("off", in: "\(link)/pace")
                client.kill(SIGKILL)
                _ = try client.finish()
            }
        }

        @Test("Random hostile calls of four processes", arguments: ["users", "root of a user namespace"])
        func calls(who: String) throws {
            try Battlefield.with(Machines.small) { field in
                let formats = FilePath(field.mount.path).removingLastComponent().appending("formats").string
                // The text of `cdmfs help` for every file.
                let reference = Host.package.appending("Sources/CoherentFS/CoherentFS.docc/Reference.md").string
                try FileManager.default.copyItem(atPath: reference, toPath: formats)
                try check(unsafe chmod(formats, 0o644))
                let own = ProcessInfo.processInfo.environment["CDMFS_ATTACK_CALLS"].flatMap { Int($0) }
                let (count, seed) = own.map { ($0, Int(Date().timeIntervalSince1970) % 100_000) } ?? (12_000, 1)
                let clients = try (seed..<seed + 4).map { seed in
                    let arguments: [Any] = [field.mount.path, formats, count, seed] + (who == "users" ? [] : ["ns"])
                    return try Battlefield.start(.calls, arguments, as: Battlefield.attacker)
                }
                for client in clients {
                    let outcome = try client.finish(within: 60 + Double(count) / 500)
                    #expect(outcome.succeeded, "seed \(seed): \(outcome.ending) \(outcome.errors)")
                    #expect(
                        (outcome["succeeded"] ?? 0) > count / 20 || outcome.output.hasPrefix("no namespaces"),
                        "\(outcome.output)")
                }
            }
        }

        // MARK: What root does meanwhile

        @Sendable private static func readBlockers(_ mount: TestMount) throws {
            _ = try mount.text("sys/devices/system/node/node1/cdm/blockers")
            _ = try mount.names(in: "sys/kernel/cdm/buffers")
            let events = try UeventReader(mount)
            try mount.makeBuffer("another", size: 4096)
            #expect(try !events.events().isEmpty)
            try FileManager.default.removeItem(atPath: mount.path + "/buffers/another")
        }

        /// Some of a device's memory is left for others.
        @Sendable private static func allocateOnDevice(_ mount: TestMount) throws {
            try mount.makeBuffer("another", size: 0, policy: "bind:1")
            #expect(try mount.fill(mount.path + "/buffers/another", limit: 1 << 20) == 1 << 20)
            try FileManager.default.removeItem(atPath: mount.path + "/buffers/another")
        }

        /// A device's queue that takes no more says so, and works on.
        @Sendable private static func fillQueue(_ mount: TestMount) throws {
            let queue = "sys/class/cdm/cdm0/queue/"
            let commands = Array(repeating: "fill root 0 4096 1", count: 200).joined(separator: "\n")
            for _ in 0..<100 {
                do {
                    try mount.store(commands, in: queue + "submit")
                } catch Errno.resourceTemporarilyUnavailable {
                    break
                }
            }
            #expect(try eventually { try mount.word(queue + "depth") == "0" })
            #expect(try mount.word(queue + "failed") == "0")
        }
    }
}
