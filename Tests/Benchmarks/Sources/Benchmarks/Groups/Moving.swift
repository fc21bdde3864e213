import Clients
import Foundation

extension Group {
    /// Pages that move from node to node.
    static let moving: Group = Group(name: "moving", title: "Migration", columns: []) { stage, body in
        try stage.withSites([.tracked, .direct]) { sites in
            let size = 1 << 30
            for site in sites { try withBuffers(site, size, body) }
        }
    }

    private static let fresh = Contestant("memcpy to fresh memory")
    private static let store = Contestant("our write of an attribute")
    private static let idle = Contestant("idle")

    private static func withBuffers(_ site: Site, _ size: Int, _ body: ([Trial]) throws -> Void) throws {
        let sizes = ["big": size, "page": 4096, "other": 16 << 20]
        for (name, bytes) in sizes { try site.fill(name, bytes) }
        defer { for name in sizes.keys { try? site.remove(name) } }
        let migrate = { site.control($0, "migrate") }
        try body([
            Trial(
                "moving 1 GiB that nobody has mapped", .gigabytesPerSecond, ours: site.contestant, peer: fresh,
                atMostOrLeast: 0.8,
                measurePeer: { Double(size) / (try timed("memcpy") { unsafe clients_copy(size, &$0) }) * 1e-9 },
                measureOurs: { Double(size) / (try there(migrate("big"))) * 1e-9 }),
            Trial(
                "moving one page", .microseconds, ours: site.contestant, peer: store, atMostOrLeast: 3,
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
                    defer { mover.end() }
                    return try slowRead(site.file("other"))
                }),
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
                        "offline of a full device of 1 GiB, 1,000 buffers", .gigabytesPerSecond, ours: site.contestant,
                        peer: oneBuffer, atMostOrLeast: 0.9,
                        measurePeer: { try drain(site, one) * Double(size) * 1e-9 },
                        measureOurs: { try drain(site, thousand) * Double(size) * 1e-9 })
                ])
            }
        }
    }

    private static let oneBuffer = Contestant("the same, one buffer")

    /// How often in a second the device, full of some buffers, could go offline.
    private static func drain(_ site: Site, _ buffers: [String]) throws -> Double {
        let state = site.path + "/sys/class/cdm/cdm0/state"
        for name in buffers { try command(site.control(name, "migrate"), "1\n") }
        let seconds = try command(state, "offline\n")
        try command(state, "online\n")
        return 1 / seconds
    }

    /// Memory that a program has mapped and stored to, against a plain C server.
    static let dirty: Group = Group(name: "dirty", title: "Migration of what is mapped", columns: []) { stage, body in
        let bytes = 256 << 20
        let plain = try PlainMover(beside: stage.settings.plainLoop, at: stage.newPath(), bytes: bytes)
        defer { plain.end() }
        try stage.withSites([.tracked, .direct]) { sites in
            for site in sites {
                try body([
                    Trial(
                        "moving 256 MiB mapped and dirty", .gigabytesPerSecond, ours: site.contestant,
                        peer: Contestant("plain C server"), atMostOrLeast: 0.8,
                        measurePeer: { try dirty(plain.path + "/data", bytes) { try plain.move() } },
                        measureOurs: {
                            let migrate = site.control("dirty", "migrate")
                            return try dirty(site.file("dirty"), bytes) {
                                let seconds = try there(migrate)
                                try back(migrate)
                                return seconds
                            }
                        })
                ])
            }
        }
    }

    private static func dirty(_ path: String, _ bytes: Int, _ move: () throws -> Double) throws -> Double {
        var mapped: UnsafeMutableRawPointer?
        _ = try timed(path) { unsafe clients_map(path, bytes, &mapped, &$0) }
        defer { unsafe clients_unmap(mapped, bytes) }
        // Twice, so that the file's own memory is there before.
        _ = try timed(path) { unsafe clients_store(mapped, bytes, 1, 0, &$0) }
        _ = try move()
        _ = try timed(path) { unsafe clients_store(mapped, bytes, 1, 0, &$0) }
        return Double(bytes) / (try move()) * 1e-9
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
    // Unchecked: the lock guards both.
    private let lock = NSCondition()
    private var isEnding = false
    private var hasEnded = false

    init(_ migrate: String) {
        Thread.detachNewThread { [self] in
            while !(lock.withLock { isEnding }) { _ = try? there(migrate) }
            lock.withLock {
                hasEnded = true
                lock.signal()
            }
        }
    }

    func end() {
        lock.lock()
        isEnding = true
        while !hasEnded { lock.wait() }
        lock.unlock()
    }
}
