import Clients
import Foundation

extension Group {
    /// What devices compute, against a program that does the same, and what their invalidations cost others.
    static let device: Group = Group(name: "device", title: "Devices", columns: []) { stage, body in
        try stage.withSites([.tracked, .direct]) { sites in
            for site in sites { try compute(site, body) }
            for site in sites where site.contestant == .tracked { try recall(site, body) }
        }
    }

    private static let plain = Contestant("plain C over ordinary memory")
    private static let size = 128 << 20

    private static func queue(_ site: Site) -> String { site.path + "/sys/class/cdm/cdm0/queue" }

    private static func execute(_ site: Site, _ command: String) throws -> Double {
        try timed(command) { unsafe clients_execute(queue(site), command, &$0) }
    }

    private static func compute(_ site: Site, _ body: ([Trial]) throws -> Void) throws {
        guard FileManager.default.createFile(atPath: site.file("bench"), contents: nil) else {
            throw Failure(site.file("bench"))
        }
        defer { try? site.remove("bench") }
        guard unsafe truncate(site.file("bench"), off_t(2 * size)) == 0 else { throw Failure("truncate: \(errno)") }
        _ = try execute(site, "fill bench 0 \(2 * size) 5")
        func rate(_ seconds: Double) -> Double { Double(size) / seconds * 1e-9 }
        try body([
            Trial(
                "crc32 of 128 MiB by a device", .gigabytesPerSecond, ours: site.contestant, peer: plain,
                atMostOrLeast: 0.8,
                measurePeer: { rate(try timed("crc32") { unsafe clients_checksum(size, &$0) }) },
                measureOurs: { rate(try execute(site, "crc32 bench 0 \(size)")) }),
            Trial(
                "copy of 128 MiB by a device", .gigabytesPerSecond, ours: site.contestant, peer: plain,
                atMostOrLeast: 0.8,
                measurePeer: { rate(try timed("memcpy") { unsafe clients_copy_resident(size, &$0) }) },
                measureOurs: { rate(try execute(site, "copy bench 0 bench \(size) \(size)")) }),
        ])
    }

    private static let atOnce = Contestant("the same, without latency")

    /// Faults, and what a device is asked to give back meanwhile every 20 ms.
    private static func recall(_ site: Site, _ body: ([Trial]) throws -> Void) throws {
        guard FileManager.default.createFile(atPath: site.file("device"), contents: Data(count: 4096)) else {
            throw Failure(site.file("device"))
        }
        defer { try? site.remove("device") }
        let rows = [
            Row(
                "first load of a page while a device gives others back after 10 ms, 99th percentile", .microseconds,
                .ratio(site.contestant, to: atOnce, 1.2)),
            Row(
                "load of a page that a device gives back after 10 ms", .milliseconds,
                .figure(site.contestant, beside: atOnce, 11)),
        ]
        func measure(_ latency: Int) throws -> [Double] {
            try command(queue(site) + "/latency", "\(latency)\n")
            defer { _ = try? command(queue(site) + "/latency", "0\n") }
            var recall: OpaquePointer?
            try unsafe Failure.check(
                clients_begin_recall(queue(site), site.file("device"), "fill device 0 4096 1", &recall), "fill")
            let faults = Result {
                try timed("faults") { unsafe clients_touch_percentile(site.file("faults"), 8000, 99, &$0) }
            }
            let waits = try timed("recall") { unsafe clients_end_recall(recall, &$0) }
            return [try faults.get() * 1e6, waits * 1e3]
        }
        try body([
            Trial(
                rows,
                [
                    Trial.Entrant(contestant: atOnce) { try measure(0) },
                    Trial.Entrant(contestant: site.contestant) { try measure(10_000_000) },
                ])
        ])
    }
}
