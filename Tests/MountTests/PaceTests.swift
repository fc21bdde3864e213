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

        /// Moves a buffer back and forth while the client touches it.
        private func stalls(_ access: Access, pace: String) throws -> Outcome {
            var outcome: Outcome?
            try TestMount.with { mount in
                let link = "sys/class/cdm/cdm0/link"
                for name in ["read_bandwidth", "write_bandwidth"] {
                    try mount.store("\(Self.megabytesPerSecond)", in: "\(link)/\(name)")
                }
                for name in ["read_latency", "write_latency"] { try mount.store("1", in: "\(link)/\(name)") }
                let bytes = 8 << 20
                let file = try mount.makeBuffer("a", size: bytes, policy: "prefer:1")
                try mount.fill(file, limit: bytes)
                try mount.store(pace, in: link + "/pace")
                let client = try Client.stall.start(file, bytes, access.rawValue, 2000, Self.model)
                #expect(try client.line() == "ready")
                var moves = 0
                let end = ContinuousClock.now + .milliseconds(1800)
                while ContinuousClock.now < end {
                    try mount.store("\(moves % 2)", in: mount.control("a") + "/migrate")
                    moves += 1
                }
                outcome = try client.finish(within: 60)
                #expect(moves > 10)
            }
            return try #require(outcome)
        }

        @Test(
            "A touch of a page on its way waits for as long as the model says and the scheduler takes",
            arguments: Access.allCases)
        func real(access: Access) throws {
            let outcome = try stalls(access, pace: "real")
            try #require(outcome.succeeded, "\(outcome.errors)")
            let (stalls, longest) = (outcome["stalls"] ?? 0, outcome["stall99"] ?? .max)
            // A sleep of the same length, at the same time: what it is late by is the delay of the scheduler.
            let sleep = outcome["sleepmax"] ?? 0
            #expect(stalls > 10, "\(outcome.output)")
            #expect(longest <= max(sleep, Self.model) + Self.model / 4, "model \(Self.model) µs: \(outcome.output)")
        }

        @Test("Without pace nobody waits for a page that moves", arguments: Access.allCases)
        func off(access: Access) throws {
            let outcome = try stalls(access, pace: "off")
            try #require(outcome.succeeded, "\(outcome.errors)")
            // Whoever is not run for so long counts, too, and those are few.
            let touches = outcome["touches"] ?? 0
            #expect(touches > 10_000 && (outcome["stalls"] ?? .max) * 1000 < touches, "\(outcome.output)")
        }
    }
}
