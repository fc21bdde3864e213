import CLinux
import Dispatch
import Foundation
import Synchronization
import SystemPackage
import Testing

/// A simulated machine mounted for one test, in a private directory.
final class TestMount: Sendable {
    /// The mount point.
    let path: String
    /// The topology file beside it.
    var topologyFile: String { scratch + "/topology.toml" }
    private let scratch: String

    /// The mounts in being, for those who must end one that hangs.
    private static let mounted = Mutex<Set<String>>([])

    private init(topology: String) throws {
        scratch = try makeTemporaryDirectory()
        path = scratch + "/machine"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        try topology.write(toFile: topologyFile, atomically: false, encoding: .utf8)
        TestMount.mounted.withLock { _ = $0.insert(path) }
    }

    /// The command that mounts it.
    func command(options: [String] = [], flags: [String] = []) -> [String] {
        [Host.cdmfs, "mount", "--topology", topologyFile] + flags
            + ["-o", (["transport=" + EachTransport.current] + hardening + options).joined(separator: ","), path]
    }

    /// Whether the daemon is built with a sanitizer, whose runtime makes calls of its own.
    var isSanitized: Bool {
        ["ASAN_OPTIONS", "TSAN_OPTIONS"].contains { ProcessInfo.processInfo.environment[$0] != nil }
    }

    private var hardening: [String] { isSanitized ? ["seccomp=off"] : [] }

    /// What makes a daemon built with a sanitizer leave its findings in files, as its stderr is gone.
    var environment: [String: String] {
        var options = ["CDMFS": Host.cdmfs]
        for name in ["ASAN_OPTIONS", "TSAN_OPTIONS"] {
            let given = ProcessInfo.processInfo.environment[name].map { $0 + ":" } ?? ""
            options[name] = given + "log_path=\(scratch)/sanitizer"
        }
        return options
    }

    /// Mounts a machine, runs `body`, and unmounts it; whatever `body` did, nothing is left.
    ///
    /// - Parameters:
    ///   - seconds: after this the connection is aborted, so that nothing that hangs in it keeps the run.
    ///   - checkingLeaks: when `body` has returned and its buffers are removed, every node must have all the free memory it
    ///     began with.
    ///   - endsItself: `body` unmounts or kills the daemon.
    static func with(
        _ topology: String = Machines.small, options: [String] = [], seconds: Int = 240, checkingLeaks: Bool = true,
        endsItself: Bool = false, sourceLocation: SourceLocation = #_sourceLocation, _ body: (TestMount) throws -> Void
    ) throws {
        try unmounted(topology, seconds: seconds, endsItself: endsItself, sourceLocation: sourceLocation) { mount in
            let outcome = try run(mount.command(options: options), environment: mount.environment)
            guard outcome.succeeded else { throw Failure("mount: \(outcome.ending) \(outcome.errors)") }
            if let daemon = mount.daemons().first { try CallTrace.begin(of: daemon) }
            let before = checkingLeaks && !endsItself ? try mount.freeMemory() : [:]
            try body(mount)
            if !before.isEmpty { try mount.checkLeaks(since: before, sourceLocation: sourceLocation) }
        }
    }

    /// As `with`, but `body` is to mount.
    static func unmounted(
        _ topology: String = Machines.small, seconds: Int = 240, endsItself: Bool = true,
        sourceLocation: SourceLocation = #_sourceLocation, _ body: (TestMount) throws -> Void
    ) throws {
        let mount = try TestMount(topology: topology)
        let path = mount.path
        let watchdog = DispatchWorkItem {
            Issue.record("aborted after \(seconds) s", sourceLocation: sourceLocation)
            abort(path)
        }
        DispatchQueue.global(qos: .userInteractive).asyncAfter(deadline: .now() + .seconds(seconds), execute: watchdog)
        defer { watchdog.cancel() }
        do {
            try body(mount)
        } catch {
            mount.end(unmounting: !endsItself)
            throw error
        }
        for problem in mount.end(unmounting: !endsItself) { Issue.record("\(problem)", sourceLocation: sourceLocation) }
    }

    /// Lets other users come to the mount point, below a directory that is the tests' alone.
    func letOthersIn() throws { try check(unsafe chmod(scratch, 0o755)) }

    // MARK: Leaks

    private func freeMemory() throws -> [Int: Int] {
        var free: [Int: Int] = [:]
        for node in try nodes() { free[node] = try meminfo(node)["MemFree"] }
        return free
    }

    private func checkLeaks(since before: [Int: Int], sourceLocation: SourceLocation) throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: path + "/buffers") {
            try FileManager.default.removeItem(atPath: path + "/buffers/" + name)
        }
        if access("dev/cdm0") { try hollow("dev/cdm0") }
        // The kernel gives up an unlinked inode some time after the last close.
        let isWhole = try eventually { try self.freeMemory() == before }
        if !isWhole {
            Issue.record("free kB by node: \(try freeMemory()), before \(before)", sourceLocation: sourceLocation)
        }
    }

    private func access(_ file: String) -> Bool { (try? entry(file)) != nil }

    // MARK: The end

    /// The daemon's process, found by its command line, which names the mount point. That of `cdmfs run` does, too, and belongs
    /// to the keeper of a command.
    func daemons() -> [pid_t] {
        let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return processes.compactMap { pid_t($0) }.filter { pid in
            guard FilePath(resolving: "/proc/\(pid)/exe").lastComponent?.stem == "cdmfs",
                let line = try? procfs("\(pid)/cmdline")
            else { return false }
            return line.contains(path) && line.split(separator: "\0").dropFirst().first != "run"
        }
    }

    /// Kills the daemon with SIGKILL, and waits until the kernel has ended the connection: then every call is ENOTCONN. One that
    /// comes while the process ends is ECONNABORTED.
    func killDaemon() throws {
        let daemon = try #require(daemons().first)
        kill(daemon, SIGKILL)
        let isOver = eventually {
            do {
                try FileDescriptor.open(FilePath(path + "/sys/kernel/cdm/pid"), .readOnly).close()
                return false
            } catch {
                return error as? Errno == .socketNotConnected
            }
        }
        try #require(isOver && eventually { daemons().isEmpty })
    }

    /// Unmounts, by force if need be, and returns what should not have been necessary.
    @discardableResult
    private func end(unmounting: Bool) -> [String] {
        var problems: [String] = []
        if unmounting {
            let outcome = try? run([Host.cdmfs, "unmount", path], within: 30)
            if outcome?.succeeded != true {
                problems.append("unmount: \(outcome.map { "\($0.ending) \($0.errors)" } ?? "hangs")")
            }
        }
        if TestMount.isMounted(path) {
            problems.append("still mounted at the end")
            TestMount.abort(path)
        }
        if !eventually(within: 30, { self.daemons().isEmpty }) {
            for pid in daemons() {
                problems.append("the daemon did not end\n" + Self.threads(of: pid))
                kill(pid, SIGKILL)
            }
            TestMount.abort(path)
        }
        TestMount.mounted.withLock { _ = $0.remove(path) }
        let logs = (try? FileManager.default.contentsOfDirectory(atPath: scratch)) ?? []
        for log in logs where log.hasPrefix("sanitizer") {
            problems.append((try? String(contentsOfFile: scratch + "/" + log, encoding: .utf8)) ?? log)
        }
        // Never below a mount point that is still there.
        if !TestMount.isMounted(path) { try? FileManager.default.removeItem(atPath: scratch) }
        return problems
    }

    /// What the threads of a process wait for.
    private static func threads(of pid: pid_t) -> String {
        func text(_ file: String) -> String { (try? procfs(file)) ?? "" }
        let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")) ?? []
        let kernel = tasks.map { task in
            let folder = "\(pid)/task/\(task)"
            return "\(task) \(text(folder + "/comm"))\(text(folder + "/syscall"))\(text(folder + "/stack"))"
        }
        guard Host.has("gdb") else { return kernel.joined(separator: "\n") }
        let program = try? run(["gdb", "--batch", "-p", "\(pid)", "-ex", "thread apply all bt 20"], within: 60)
        return kernel.joined(separator: "\n") + (program?.output ?? "")
    }

    /// Fails every request of the mount, which frees whoever hangs in one, and takes it away.
    static func abort(_ path: String) {
        while isMounted(path) {
            guard unsafe umount2(path, Int32(MNT_FORCE | MNT_DETACH)) == 0 else { break }
        }
    }

    /// Aborts every mount of this run.
    static func abortAll() {
        for path in mounted.withLock({ $0 }) { abort(path) }
    }

    /// Whether something is mounted at `path`, found without touching it.
    static func isMounted(_ path: String) -> Bool {
        ((try? procfs("self/mountinfo")) ?? "").split(separator: "\n").contains {
            $0.split(separator: " ").dropFirst(4).first.map(String.init) == path
        }
    }
}

/// Makes a directory of its own below the temporary directory.
func makeTemporaryDirectory() throws -> String {
    var template = Array("/tmp/cdmfs-test.XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Waits for what the kernel does in its own time and announces to nobody.
func eventually(within seconds: Double = 20, _ condition: () throws -> Bool) rethrows -> Bool {
    let deadline = Date(timeIntervalSinceNow: seconds)
    while try !condition() {
        if Date() >= deadline { return false }
        usleep(5000)
    }
    return true
}
