import Clients
import Foundation

extension Group {
    /// Pages that move from node to node.
    static let moving: Group = Group(name: "moving", title: "Migration", columns: []) { stage, body in
        try stage.withSites([.tracked, .direct]) { sites in
            for site in sites {
                try withBuffers(site, 1 << 30, body)
                try inEveryState(site, body)
                try underWriters(site, body)
            }
        }
    }

    private static let copy = Contestant("memcpy over warm memory")
    private static let store = Contestant("our write of an attribute")
    private static let idle = Contestant("idle")
    private static let alone = Contestant("the same, one without the other")

    private static func withBuffers(_ site: Site, _ size: Int, _ body: ([Trial]) throws -> Void) throws {
        let sizes = ["big": size, "page": 4096, "other": 16 << 20]
        for (name, bytes) in sizes { try site.fill(name, bytes) }
        defer { for name in sizes.keys { try? site.remove(name) } }
        let migrate = { site.control($0, "migrate") }
        try body([
            Trial(
                "moving one page", .microseconds, ours: site.contestant, peer: store, atMostOrLeast: 2,
                measurePeer: { try median { _ in try command(site.control("page", "policy"), "default\n") } },
                measureOurs: {
                    // It would fill the device.
                    try back(migrate("big"))
                    return try median { try command(migrate("page"), $0.isMultiple(of: 2) ? "1\n" : "0\n") }
                }),
            Trial(
                "4 KiB pread while 1 GiB of another buffer moves, 99th percentile", .microseconds,
                ours: site.contestant,
                peer: idle, atMostOrLeast: 2,
                measurePeer: { try slowRead(site.file("other")) },
                measureOurs: {
                    let mover = Mover(migrate("big"))
                    defer { _ = try? mover.end() }
                    return try slowRead(site.file("other"))
                }),
        ])
    }

    /// The same memory as nobody has it mapped, as somebody loads from it, and as somebody has stored to it.
    private static func inEveryState(_ site: Site, _ body: ([Trial]) throws -> Void) throws {
        let bytes = 256 << 20
        let migrate = site.control("moved", "migrate")
        func rate(_ seconds: Double) -> Double { Double(bytes) / seconds * 1e-9 }
        func move() throws -> Double { rate(try Summary((0..<5).map { _ in try there(migrate) }).median) }
        let rows = ["that nobody has mapped", "mapped and clean", "mapped and dirty"].map {
            Row("moving 256 MiB \($0)", .gigabytesPerSecond, .ratio(site.contestant, to: copy, 3))
        }
        try site.fill("moved", bytes)
        defer { try? site.remove("moved") }
        try body([
            Trial(
                rows,
                [
                    Trial.Entrant(contestant: copy) {
                        let figure = rate(try timed("memcpy") { unsafe clients_copy_resident(bytes, &$0) })
                        return Array(repeating: figure, count: rows.count)
                    },
                    Trial.Entrant(contestant: site.contestant) {
                        let unmapped = try move()
                        var mapped: UnsafeMutableRawPointer?
                        _ = try timed(site.path) { unsafe clients_map(site.file("moved"), bytes, &mapped, &$0) }
                        defer { unsafe clients_unmap(mapped, bytes) }
                        _ = try timed(site.path) { unsafe clients_load(mapped, bytes, 0, &$0) }
                        let clean = try move()
                        // Stored to anew before each move, which may write back what is dirty.
                        let dirty = try (0..<3).map { _ in
                            try back(migrate)
                            _ = try timed(site.path) { unsafe clients_store(mapped, bytes, 1, 0, &$0) }
                            return try command(migrate, "1\n")
                        }
                        try back(migrate)
                        return [unmapped, clean, rate(Summary(dirty).median)]
                    },
                ])
        ])
    }

    /// Two threads that increment words atomically while their memory moves back and forth; no increment may be lost.
    private static func underWriters(_ site: Site, _ body: ([Trial]) throws -> Void) throws {
        let bytes = 64 << 20
        let migrate = site.control("counted", "migrate")
        var mapped: UnsafeMutableRawPointer?
        _ = try timed(site.path) { unsafe clients_map(site.file("counted"), bytes, &mapped, &$0) }
        defer {
            unsafe clients_unmap(mapped, bytes)
            try? site.remove("counted")
        }
        _ = try timed(site.path) { unsafe clients_store(mapped, bytes, 1, 0, &$0) }
        /// Seconds of a sample; those of a run are more than the six that 2,000 moves may take.
        let length = 1.0
        /// Moves a second that the writers are asked to bear.
        let asked = 2000.0 / 6
        func increments(meanwhile: () throws -> Double) throws -> [Double] {
            var begun: OpaquePointer?
            try unsafe Failure.check(clients_begin_increments(mapped, bytes, 2, &begun), "increments")
            let moves = Result { try meanwhile() }
            let rate = try timed("increments") { unsafe clients_end_increments(begun, &$0) }
            return [rate, try moves.get()]
        }
        func moves(_ pace: Double? = nil) throws -> Double {
            let mover = Mover(migrate, roundsPerSecond: pace.map { $0 / 2 })
            Thread.sleep(forTimeInterval: length)
            return 2 * Double(try mover.end()) / length
        }
        try body([
            Trial(
                [
                    Row(
                        "atomic increments by two threads of 64 MiB that moves 333 times a second", .perSecond,
                        .ratio(site.contestant, to: alone, 0.9)),
                    Row(
                        "moves of 64 MiB under two threads of atomic increments", .perSecond,
                        .figure(site.contestant, beside: alone, asked)),
                ],
                [
                    Trial.Entrant(contestant: alone) {
                        let rate = try increments {
                            Thread.sleep(forTimeInterval: length)
                            return 0
                        }[0]
                        return [rate, try moves()]
                    },
                    Trial.Entrant(contestant: site.contestant) {
                        // As many moves as the CPUs allow leave the writers what is over: that tells of the CPUs.
                        let paced = try increments { try moves(asked) }
                        guard paced[1] > 0.9 * asked else { throw Failure("\(paced[1]) moves a second, not \(asked)") }
                        return [paced[0], try increments { try moves() }[1]]
                    },
                ])
        ])
    }

    private static func slowRead(_ path: String) throws -> Double {
        try timed(path) { unsafe clients_read_percentile(path, 16 << 20, 5000, 99, &$0) } * 1e6
    }

    /// A device that goes offline while it is full, of one buffer and of a thousand.
    static let draining: Group = Group(name: "draining", title: "Offlining", columns: []) { stage, body in
        try stage.withSites([.tracked, .direct]) { sites in
            for site in sites {
                let size = 1 << 30
                let one = ["one"]
                let thousand = (0..<1000).map(String.init)
                for name in one + thousand { try site.fill(name, name == "one" ? size : size / 1000 & ~4095) }
                defer { for name in one + thousand { try? site.remove(name) } }
                try body([
                    Trial(
                        [
                            Row(
                                "offline of a full device of 1 GiB, 1,000 buffers", .milliseconds,
                                .ratio(site.contestant, to: oneBuffer, 1 / 0.9),
                                .figure(site.contestant, beside: oneBuffer, 100))
                        ],
                        [
                            Trial.Entrant(contestant: oneBuffer) { [try drain(site, one) * 1e3] },
                            Trial.Entrant(contestant: site.contestant) { [try drain(site, thousand) * 1e3] },
                        ])
                ])
            }
        }
    }

    private static let oneBuffer = Contestant("the same, one buffer")

    /// Seconds that the device, full of some buffers, takes to go offline.
    private static func drain(_ site: Site, _ buffers: [String]) throws -> Double {
        let state = site.path + "/sys/class/cdm/cdm0/state"
        for name in buffers { try command(site.control(name, "migrate"), "1\n") }
        let seconds = try command(state, "offline\n")
        try command(state, "online\n")
        return seconds
    }
}

/// The middle of 1000 times, as microseconds: each is short enough for one that was interrupted to spoil a mean.
private func median(_ seconds: (Int) throws -> Double) throws -> Double {
    try Summary((0..<1000).map(seconds)).median * 1e6
}

/// Seconds to move a buffer to the device, after it was brought back.
private func there(_ migrate: String) throws -> Double {
    try back(migrate)
    return try command(migrate, "1\n")
}

private func back(_ migrate: String) throws { try command(migrate, "0\n") }

/// Moves a buffer back and forth on a thread of its own.
private final class Mover: @unchecked Sendable {
    // Unchecked: the lock guards all.
    private let lock = NSCondition()
    private var isEnding = false
    private var outcome: Result<Int, any Error>?

    init(_ migrate: String, roundsPerSecond: Double? = nil) {
        Thread.detachNewThread { [self] in
            let outcome = Result {
                var rounds = 0
                let start = Date()
                while !(lock.withLock { isEnding }) {
                    _ = try there(migrate)
                    rounds += 1
                    if let roundsPerSecond { Thread.sleep(until: start + Double(rounds) / roundsPerSecond) }
                }
                return rounds
            }
            lock.withLock {
                self.outcome = outcome
                lock.signal()
            }
        }
    }

    /// How often the buffer went there and back.
    @discardableResult
    func end() throws -> Int {
        lock.lock()
        defer { lock.unlock() }
        isEnding = true
        while true {
            if let outcome { return try outcome.get() }
            lock.wait()
        }
    }
}
