import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// Starting the daemon: this program once more in a session of its own, which tells through a pipe whether it came up.
///
/// A fork would take only one of a process's threads along; a fresh program has none to lose.
enum Daemon {
    /// The descriptor on which the daemon finds the pipe.
    static let readyFD: Int32 = 3

    /// Starts it with some arguments and waits until its mount answers.
    static func start(_ arguments: [String]) throws(Failure) {
        let pipe: (readEnd: FileDescriptor, writeEnd: FileDescriptor)
        let pid: pid_t
        do {
            pipe = try FileDescriptor.pipe()
            pid = try spawn(arguments, pipe.writeEnd)
            try pipe.writeEnd.close()
        } catch {
            throw Failure(.failure, "mount: the daemon cannot be started: \(error)")
        }
        guard !(try isReady(at: pipe.readEnd)) else { return }
        let status = (try? SystemCall.waitForEnd(of: pid)) ?? 0
        let signal = status & 0x7f
        let end = signal == 0 ? "with status \(status >> 8 & 0xff)" : "by signal \(signal)"
        throw Failure(.mount, "mount: the daemon ended \(end) before the file system answered")
    }

    /// Waits at the other end of a daemon's ``readyFD`` until its mount answers; false if it ended without a word.
    static func isReady(at file: FileDescriptor) throws(Failure) -> Bool {
        let answer = String(decoding: read(file), as: UTF8.self)
        if answer == ready { return true }
        let parts = answer.split(separator: " ", maxSplits: 1)
        if parts.count == 2, let number = Int32(parts[0]), let status = Failure.Status(rawValue: number) {
            throw Failure(status, String(parts[1]))
        }
        return false
    }

    /// Leaves the session of the process that started the daemon, and closes what it inherited from it.
    static func detach() {
        setsid()
        // A process that waits for the end of a pipe of that process must not wait for the daemon.
        close_range(UInt32(readyFD) + 1, .max, 0)
    }

    /// What the daemon writes once its mount answers.
    static let ready = "ready\n"

    /// What the daemon writes when it fails.
    static func report(_ failure: Failure) -> String { "\(failure.status.rawValue) \(failure.message)\n" }

    /// Starts it with `pipe` as its ``readyFD``.
    static func spawn(_ arguments: [String], _ pipe: FileDescriptor) throws(Errno) -> pid_t {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, pipe.rawValue, readyFD)
        for descriptor: Int32 in 0...2 {
            unsafe posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
        }
        var pid: pid_t = 0
        let status = unsafe withArgumentVector(arguments) {
            unsafe posix_spawn(&pid, "/proc/self/exe", &actions, nil, $0, Glibc.environ)
        }
        guard status == 0 else { throw Errno(rawValue: status) }
        return pid
    }

    /// All that comes up to the end, or to the end of the first line.
    private static func read(_ file: FileDescriptor) -> [UInt8] {
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while answer.last != UInt8(ascii: "\n") {
            guard let count = unsafe try? buffer.withUnsafeMutableBytes({ unsafe try file.read(into: $0) }), count > 0
            else { break }
            answer += buffer[..<count]
        }
        return answer
    }
}
