import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Programs whose pages move over a link that takes its time, as they see it themselves.
    @Suite("Pace")
    struct PaceTests {
        /// Pages of a batch that moves as one; their link takes a quarter of a gigabyte a second.
        private static let batch = 512
        private static let megabytesPerSecond = 250
        /// What the model says for a batch, µs.
        private static let model = batch * 4096 / megabytesPerSecond

        enum Access: String, CaseIterable {
            case mapped, read
        }

        /// Moves a buffer back and forth while the client touches it; no pace for a buffer that stays.
        private func stalls(_ access: Access, pace: String?) throws -> (outcome: Outcome, moves: Int) {
            var outcome: Outcome?
            var moves = 0
            try TestMount.with { mount in
                let link = "sys/class/cdm/cdm0/link"
                for name in ["read_bandwidth", "write_bandwidth"] {
                    try mount.store("\(Self.megabytesPerSecond)", in: "\(link)/\(name)")
                }
                for name in ["read_latency", "write_latency"] { try mount.store("1", in: "\(link)/\(name)") }
                let bytes = 8 << 20
                let file = try mount.makeBuffer("a", size: bytes, policy: "prefer:1")
                try mount.fill(file, limit: bytes)
                if let pace { try mount.store(pace, in: link + "/pace") }
                let client = try Client.stall.start(file, bytes, access.rawValue, 2000, Self.model)
                #expect(try client.line() == "ready")
                let end = ContinuousClock.now + .milliseconds(1800)
                while pace != nil, ContinuousClock.now < end {
                    try mount.store("\(moves % 2)", in: mount.control("a") + "/migrate")
                    moves += 1
                }
                outcome = try client.finish(within: 60)
                #expect(pace == nil || moves > 3)
            }
            let found = try #require(outcome)
            try #require(found.succeeded, "\(found.errors)")
            return (found, moves)
        }

        @Test(
            "A touch of a page on its way waits for as long as the model says and the scheduler takes",
            arguments: Access.allCases)
        func real(access: Access) throws {
            let outcome = try stalls(access, pace: "real").outcome
            let (stalls, longest) = (outcome["stalls"] ?? 0, outcome["stall99"] ?? .max)
            // A sleep of the same length, at the same time: what it is late by is the delay of the scheduler.
            let sleep = outcome["sleepmax"] ?? 0
            #expect(stalls > 3, "\(outcome.output)")
            #expect(longest <= max(sleep, Self.model) + Self.model / 4, "model \(Self.model) µs: \(outcome.output)")
        }

        @Test("Without pace nobody waits for a page that moves", arguments: Access.allCases)
        func off(access: Access) throws {
            // Where the scheduler does not run the client for so long, that counts, too: as often without any move.
            let still = try stalls(access, pace: nil).outcome
            let (outcome, moves) = try stalls(access, pace: "off")
            let (usual, found) = (try #require(still["stalls"]), try #require(outcome["stalls"]))
            #expect(found <= 2 * usual + moves / 2 + 10, "\(moves) moves, \(outcome.output), without: \(still.output)")
        }
    }
}
