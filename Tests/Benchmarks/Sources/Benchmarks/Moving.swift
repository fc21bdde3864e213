import Clients
import Foundation

extension Rows {
    /// Pages that move from node to node.
    func moving(_ body: ([Contest]) throws -> Void) throws {
        let mount = try Mount.cdmfs(cdmfs, at: scratch + "/moving")
        defer { mount.end() }
        let size = 1 << 30
        let (big, page, other) = ("big", "page", "other")
        for (name, bytes) in [(big, size), (page, 4096), (other, 16 << 20)] {
            try unsafe Failure.check(clients_fill(mount.path + "/buffers/" + name, bytes), name)
        }
        let control = { (name: String) in "\(mount.path)/sys/kernel/cdm/buffers/\(name)/migrate" }
        let attribute = mount.path + "/sys/kernel/cdm/buffers/page/policy"
        try body([
            Contest(
                title: "moving 1 GiB that nobody has mapped", peer: "memcpy to fresh memory", unit: .gigabytesPerSecond,
                aim: 0.8,
                measurePeer: {
                    var seconds = 0.0
                    try unsafe Failure.check(clients_copy(size, &seconds), "memcpy")
                    return Double(size) / seconds * 1e-9
                }, measureOurs: { try Double(size) / there(control(big)) * 1e-9 }),
            Contest(
                title: "moving one page", peer: "our write of an attribute", unit: .microseconds, aim: 3,
                measurePeer: { try median { _ in try command(attribute, "default\n") } },
                measureOurs: {
                    // It would fill the device.
                    _ = try back(control(big))
                    return try median { try command(control(page), $0.isMultiple(of: 2) ? "1\n" : "0\n") }
                }),
            Contest(
                title: "4 KiB pread while 1 GiB of another buffer moves, 99th percentile", peer: "idle",
                unit: .microseconds, aim: 2, measurePeer: { try slowRead(mount.path + "/buffers/" + other) },
                measureOurs: {
                    let mover = Mover(control(big))
                    defer { mover.end() }
                    return try slowRead(mount.path + "/buffers/" + other)
                }),
        ])
        for name in [big, page, other] { try FileManager.default.removeItem(atPath: mount.path + "/buffers/" + name) }
        try draining(mount.path, size, body)
    }

    /// A device full of one buffer, and of a thousand.
    private func draining(_ path: String, _ size: Int, _ body: ([Contest]) throws -> Void) throws {
        func drain(_ buffers: Int) throws -> Double {
            let names = (0..<buffers).map { "\(path)/buffers/\($0)" }
            for name in names {
                guard FileManager.default.createFile(atPath: name, contents: nil) else { throw Failure(name) }
                let policy = name.replacingOccurrences(of: "/buffers/", with: "/sys/kernel/cdm/buffers/") + "/policy"
                var seconds = 0.0
                try unsafe Failure.check(clients_command(policy, "bind:1\n", &seconds), policy)
                try unsafe Failure.check(clients_fill(name, size / buffers & ~4095), name)
            }
            var seconds = 0.0
            let state = path + "/sys/class/cdm/cdm0/state"
            try unsafe Failure.check(clients_command(state, "offline\n", &seconds), state)
            var ignored = 0.0
            try unsafe Failure.check(clients_command(state, "online\n", &ignored), state)
            for name in names { try FileManager.default.removeItem(atPath: name) }
            return Double(size) / seconds * 1e-9
        }
        try body([
            Contest(
                title: "draining a full device of 1 GiB, 1,000 buffers", peer: "the same, one buffer",
                unit: .gigabytesPerSecond, aim: 0.9, measurePeer: { try drain(1) }, measureOurs: { try drain(1000) })
        ])
    }

    /// Memory that a program has mapped and stored to, against a plain C server.
    func movingDirty(_ body: ([Contest]) throws -> Void) throws {
        let ours = try Mount.cdmfs(cdmfs, at: scratch + "/dirty")
        defer { ours.end() }
        let plain = try PlainMover(beside: plainLoop, at: scratch + "/plainmover", bytes: bytes)
        defer { plain.end() }
        let (file, peer) = (ours.path + "/buffers/dirty", plain.path + "/data")
        let control = ours.path + "/sys/kernel/cdm/buffers/dirty/migrate"
        try body([
            Contest(
                title: "moving 256 MiB mapped and dirty", peer: "plain C server", unit: .gigabytesPerSecond, aim: 0.8,
                measurePeer: { try dirty(peer) { try plain.move() } },
                measureOurs: {
                    try dirty(file) {
                        let seconds = try there(control)
                        _ = try back(control)
                        return seconds
                    }
                })
        ])
    }

    private func dirty(_ path: String, _ move: () throws -> Double) throws -> Double {
        var mapped: UnsafeMutableRawPointer?
        try unsafe Failure.check(clients_map(path, bytes, &mapped), path)
        defer { unsafe clients_unmap(mapped, bytes) }
        // Twice, so that the file's own memory is there before.
        unsafe clients_dirty(mapped, bytes)
        _ = try move()
        unsafe clients_dirty(mapped, bytes)
        return Double(bytes) / (try move()) * 1e-9
    }

    private func slowRead(_ path: String) throws -> Double {
        var seconds = 0.0
        try unsafe Failure.check(clients_read_percentile(path, 16 << 20, 5000, 99, &seconds), path)
        return seconds * 1e6
    }
}

/// The middle of 1000 times, as microseconds: each is short enough for one that was interrupted to spoil a mean.
private func median(_ seconds: (Int) throws -> Double) throws -> Double {
    try Summary((0..<1000).map(seconds)).median * 1e6
}

/// Seconds to move a buffer to the device, after it was brought back.
private func there(_ control: String) throws -> Double {
    _ = try back(control)
    return try command(control, "1\n")
}

private func back(_ control: String) throws -> Double { try command(control, "0\n") }

private func command(_ file: String, _ text: String) throws -> Double {
    var seconds = 0.0
    try unsafe Failure.check(clients_command(file, text, &seconds), file)
    return seconds
}

/// Moves a buffer back and forth on a thread of its own.
private final class Mover: @unchecked Sendable {
    // Unchecked: the lock guards both.
    private let lock = NSCondition()
    private var isEnding = false
    private var hasEnded = false

    init(_ control: String) {
        Thread.detachNewThread { [self] in
            while !(lock.withLock { isEnding }) { _ = try? there(control) }
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

/// The plain C server that moves its one file when it is told to.
private final class PlainMover {
    let path: String
    private let server = Process()
    private let orders = Pipe()
    private let answers = Pipe()

    init(beside plainLoop: String, at path: String, bytes: Int) throws {
        self.path = path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        server.executableURL = URL(fileURLWithPath: plainLoop).deletingLastPathComponent()
            .appendingPathComponent("plainmover")
        server.arguments = [path, String(bytes)]
        server.standardInput = orders
        server.standardOutput = answers
        try server.run()
        guard try answer() == "mounted" else { throw Failure("plainmover did not mount \(path)") }
    }

    /// Moves the file, and says in how many seconds.
    func move() throws -> Double {
        try orders.fileHandleForWriting.write(contentsOf: Data("\n".utf8))
        guard let seconds = Double(try answer()) else { throw Failure("plainmover says no figure") }
        return seconds
    }

    private func answer() throws -> String {
        var line = Data()
        while let byte = try answers.fileHandleForReading.read(upToCount: 1), byte != Data("\n".utf8) { line += byte }
        return String(decoding: line, as: UTF8.self)
    }

    func end() {
        let unmount = Process()
        unmount.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        unmount.arguments = ["umount", path]
        try? unmount.run()
        unmount.waitUntilExit()
        try? orders.fileHandleForWriting.close()
        server.waitUntilExit()
    }
}
