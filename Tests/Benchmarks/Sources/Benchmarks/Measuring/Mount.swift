import Clients
import Foundation

/// Something mounted for the run, on a directory of its own.
final class Mount {
    /// The mount point.
    let path: String
    /// The server, where it is a child of ours.
    private let server: Process?
    /// What it stands on, and ends with it.
    private let below: Mount?
    /// Whether the server only looks on.
    private let isRecorder: Bool

    private init(path: String, server: Process? = nil, below: Mount? = nil, isRecorder: Bool = false) {
        self.isRecorder = isRecorder
        self.path = path
        self.server = server
        self.below = below
    }

    /// A private tmpfs.
    static func tmpfs(at path: String, huge: String = "never") throws -> Mount {
        try make(path)
        try run(["mount", "-t", "tmpfs", "-o", "size=100%,huge=\(huge),mode=0755", "none", path])
        return Mount(path: path)
    }

    /// A simulated machine, the default one or that of a file. On one CPU if `cpu` is given, every thread of it.
    static func cdmfs(
        _ binary: String, at path: String, topology: String? = nil, options: String? = nil, cpu: Int32? = nil
    ) throws -> Mount {
        try make(path)
        let flags = (topology.map { ["--topology", $0] } ?? []) + (options.map { ["-o", $0] } ?? [])
        try pinned(to: cpu) { try run([binary, "mount"] + flags + [path]) }
        return Mount(path: path)
    }

    /// A machine that is mounted, with a recorder of all its events.
    static func recorded(_ binary: String, _ mount: Mount) throws -> Mount {
        let recorder = Process()
        recorder.executableURL = URL(fileURLWithPath: binary)
        recorder.arguments = ["record", "-o", "/dev/null", "--mount", mount.path]
        recorder.standardError = FileHandle.nullDevice
        let enable = mount.path + "/sys/kernel/cdm/trace/enable"
        do {
            try recorder.run()
            while try String(contentsOfFile: enable, encoding: .utf8) != "1\n" {
                guard recorder.isRunning else { throw Failure("cdmfs record: status \(recorder.terminationStatus)") }
                usleep(2000)
            }
        } catch {
            mount.end()
            throw error
        }
        return Mount(path: mount.path, server: recorder, below: mount, isRecorder: true)
    }

    /// An example of libfuse's. `below` is what it passes through to, if it does.
    static func example(_ binary: String, at path: String, options: String?, below: Mount? = nil) throws -> Mount {
        try make(path)
        let server = Process()
        server.executableURL = URL(fileURLWithPath: binary)
        // In the foreground: `Process` waits for the end of whoever inherits its socket, a daemon, too.
        server.arguments = ["-f"] + (options.map { ["-o", $0] } ?? []) + [path]
        server.standardOutput = FileHandle.nullDevice
        server.standardError = FileHandle.nullDevice
        try server.run()
        while try !isMounted(path) {
            guard server.isRunning else { throw Failure("\(binary) did not mount: status \(server.terminationStatus)") }
            usleep(2000)
        }
        return Mount(path: path, server: server, below: below)
    }

    /// The plain C loop, or libfuse's own loop of many threads.
    static func plainLoop(
        _ binary: String, at path: String, bytes: Int, threads: Bool = false, cpu: Int32? = nil
    ) throws -> Mount {
        try make(path)
        let server = Process()
        server.executableURL = URL(fileURLWithPath: binary)
        server.arguments = [path, String(bytes)] + (threads ? ["threads"] : [])
        let output = Pipe()
        server.standardOutput = output
        try pinned(to: cpu) { try server.run() }
        let answer = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        guard answer == "mounted\n" else { throw Failure("\(binary) did not mount \(path)") }
        return Mount(path: path, server: server)
    }

    /// Unmounts it. What fails here is cleared by whoever made the directories.
    func end() {
        if isRecorder { server?.interrupt() } else { try? Mount.run(["umount", path]) }
        server?.waitUntilExit()
        below?.end()
    }

    private static func isMounted(_ path: String) throws -> Bool {
        // To its end: reads of procfs are short, which String(contentsOfFile:) takes for the end.
        let mounts = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/self/mounts")).readToEnd() ?? Data()
        return String(decoding: mounts, as: UTF8.self).contains(" \(path) ")
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

    /// Runs a command; what it says on stderr is the reason when it fails.
    private static func run(_ words: [String]) throws {
        // A file, not a pipe: what daemonizes keeps it open.
        let said = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        _ = FileManager.default.createFile(atPath: said.path, contents: nil)
        defer { try? FileManager.default.removeItem(at: said) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = words
        process.standardError = try FileHandle(forWritingTo: said)
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus != 0 else { return }
        let reason = (try? String(contentsOf: said, encoding: .utf8))?.split(separator: "\n").last.map(String.init)
        throw Failure(reason ?? "\(words.joined(separator: " ")): status \(process.terminationStatus)")
    }
}
