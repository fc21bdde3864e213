import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Ten seconds of atomic increments while their pages move: not one may be lost.
    @Suite("Increments")
    struct IncrementTests {
        private let seconds = 10.0

        /// Two threads increment all over 64 MiB while `disturb` is called again and again.
        private func increment(_ file: String, _ disturb: (Int) throws -> Void) throws {
            let client = try Client.increment.start(file, "64M", 2)
            #expect(try client.line() == "ready")
            let deadline = Date(timeIntervalSinceNow: seconds)
            var rounds = 0
            // However slow the machine is.
            while Date() < deadline || rounds < 2 {
                try disturb(rounds)
                rounds += 1
            }
            client.kill(SIGTERM)
            let outcome = try client.finish(within: 60)
            #expect(outcome.succeeded, "\(outcome.ending) \(outcome.output) \(outcome.errors)")
            #expect(outcome["counted"] == outcome["found"])
            #expect(outcome["counted"]! > 0)
        }

        @Test("while migrate goes back and forth")
        func migrating() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 20)
                try increment(file) { round in
                    try mount.store("\((round + 1) % 2)", in: mount.control("a") + "/migrate")
                    #expect(try mount.placement("a") == [(round + 1) % 2: 16384])
                }
            }
        }

        @Test("while parts of it migrate")
        func migratingParts() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 20)
                try increment(file) { round in
                    let offset = round % 8 * (8 << 20)
                    try mount.store("\(offset) \(8 << 20) \((round / 8 + 1) % 2)", in: mount.control("a") + "/migrate")
                }
            }
        }

        @Test("while the blocks of the node go offline and come back")
        func offlining() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 20, policy: "prefer:1")
                try increment(file) { _ in
                    for number in try mount.blocks(of: "a") {
                        let state = "sys/devices/system/memory/memory\(number)/state"
                        try mount.store("offline", in: state)
                        #expect(try mount.text(state) == "offline\n")
                        try mount.store("online", in: state)
                    }
                    let placement = try mount.placement("a")
                    #expect(placement.values.reduce(0, +) == 16384)
                    if placement[0] != nil { try mount.store("1", in: mount.control("a") + "/migrate") }
                }
            }
        }

        @Test("while the whole device goes offline and comes back")
        func offliningTheDevice() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 20, policy: "prefer:1")
                try increment(file) { _ in
                    try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                    #expect(try mount.placement("a") == [0: 16384])
                    try mount.store("online", in: "sys/class/cdm/cdm0/state")
                    try mount.store("1", in: mount.control("a") + "/migrate")
                }
            }
        }
    }
}
