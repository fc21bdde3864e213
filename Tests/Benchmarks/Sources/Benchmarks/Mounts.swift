import Clients
import Foundation

/// Something mounted for the run, on a directory of its own.
final class Mount {
    /// The mount point.
    let path: String
    /// The server, where it is a child of ours.
    private let server: Process?

    private init(path: String, server: Process?) {
        self.path = path
        self.server = server
    }

    /// A private tmpfs.
    static func tmpfs(at path: String) throws -> Mount {
        try make(path)
        try run("mount", "-t", "tmpfs", "-o", "size=1G,huge=never,mode=0755", "none", path)
        return Mount(path: path, server: nil)
    }

    /// A simulated machine, the default one or that of a file. On one CPU if `cpu` is given, every thread of it.
    static func cdmfs(
        _ binary: String, at path: String, topology: String? = nil, options: String? = nil, cpu: Int32? = nil
    ) throws -> Mount {
        try make(path)
        let flags = (topology.map { ["--topology", $0] } ?? []) + (options.map { ["-o", $0] } ?? [])
        try pinned(to: cpu) {
            try run([binary, "mount"] + flags + [path])
        }
        return Mount(path: path, server: nil)
    }

    /// The plain C loop.
    static func plainLoop(_ binary: String, at path: String, bytes: Int, cpu: Int32? = nil) throws -> Mount {
        try make(path)
        let server = Process()
        server.executableURL = URL(fileURLWithPath: binary)
        server.arguments = [path, String(bytes)]
        let output = Pipe()
        server.standardOutput = output
        try pinned(to: cpu) { try server.run() }
        let answer = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        guard answer == "mounted\n" else { throw Failure("\(binary) did not mount \(path)") }
        return Mount(path: path, server: server)
    }

    /// Unmounts it. What fails here is cleared by whoever made the directories.
    func end() {
        try? Mount.run("umount", path)
        server?.waitUntilExit()
    }

    private static func make(_ path: String) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    /// A child inherits the CPUs of the thread that starts it.
    private static func pinned(to cpu: Int32?, _ body: () throws -> Void) throws {
        guard let cpu else { return try body() }
        try Failure.check(clients_pin(cpu), "CPU \(cpu)")
        defer { clients_pin(-1) }
        try body()
    }

    private static func run(_ words: String...) throws { try run(words) }

    private static func run(_ words: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = words
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure("\(words.joined(separator: " ")): status \(process.terminationStatus)")
        }
    }
}
