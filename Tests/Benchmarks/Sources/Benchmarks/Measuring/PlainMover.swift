import Foundation

/// The plain C server that moves its one file when it is told to.
final class PlainMover {
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
