import CLinux
import Dispatch
import Glibc
import Synchronization
import SystemPackage

/// What can be learnt of the daemon behind a mount without trusting it to answer.
enum MountedDaemon {
    /// It runs; the descriptor is readable once it has gone.
    case running(pid: pid_t, end: FileDescriptor)
    /// It has gone and left the mount.
    case gone
    /// It does not answer.
    case silent
    /// It does not say who it is.
    case unknown

    /// Finds the daemon of a mount: by the connection that a process holds, where the kernel shows it; otherwise by
    /// asking it, for at most a second.
    init(of mount: MountInfo) {
        // Several: the number of a connection that has ended is used again, and who still holds that one is another.
        let holders = Self.holders(of: mount.minor)
        if holders.count == 1, let running = Self.running(holders[0]) {
            self = running
            return
        }
        // The question is a request, which a hung daemon never answers; and it keeps the mount busy meanwhile.
        let answer = Answer()
        let done = DispatchSemaphore(value: 0)
        DispatchQueue.global().async {
            let found = Self.ask(mount.mountPoint)
            answer.value.withLock { $0 = found }
            done.signal()
        }
        _ = done.wait(timeout: .now() + 1)
        self = answer.value.withLock { $0 }
        // Where it does not say, whoever came last is the one that has the mount.
        if case .silent = self, let last = holders.max(by: { Self.start(of: $0) < Self.start(of: $1) }),
            let running = Self.running(last)
        {
            self = running
        }
    }

    /// When a process was started, in ticks after boot; 0 for one that is gone.
    private static func start(of pid: pid_t) -> Int {
        // The name may have blanks and parentheses in it; the time is the 20th word behind that.
        let text = (try? readAll(FilePath("/proc/\(pid)/stat"))) ?? ""
        let words = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        return words.count > 20 ? Int(words[20]) ?? 0 : 0
    }

    private final class Answer: Sendable {
        let value = Mutex<MountedDaemon>(.silent)
    }

    /// The processes of this name that hold a FUSE connection, which newer kernels show in /proc/PID/fdinfo.
    private static func holders(of connection: Int) -> [pid_t] {
        namesOfNumbers(in: "/proc").compactMap { pid_t($0) }.filter { pid in
            let process = FilePath("/proc/\(pid)")
            guard (try? readAll(process.appending("comm"))) == "cdmfs\n" else { return false }
            return namesOfNumbers(in: process.appending("fdinfo")).contains { descriptor in
                let lines = (try? readAll(process.appending("fdinfo").appending(descriptor)))?.split(separator: "\n")
                let line = lines?.first { $0.hasPrefix("fuse_connection:") }
                return line?.split(whereSeparator: \.isWhitespace).last.flatMap { Int($0) } == connection
            }
        }
    }

    private static func ask(_ mountPoint: String) -> MountedDaemon {
        do {
            let text = try readAll(FilePath(mountPoint).appending("sys/kernel/cdm/pid"))
            guard let pid = pid_t(text.prefix { $0.isNumber }), pid > 1 else { return .unknown }
            return running(pid) ?? .unknown
        } catch Errno.socketNotConnected {
            return .gone
        } catch {
            return .unknown
        }
    }

    private static func running(_ pid: pid_t) -> MountedDaemon? {
        let end = pidfd_open(pid, 0)
        return end < 0 ? nil : .running(pid: pid, end: FileDescriptor(rawValue: end))
    }

    /// Waits until it has gone, at most ten seconds; false if it has not by then.
    func waitForEnd() -> Bool {
        guard case .running(_, let end) = self else { return true }
        var entry = pollfd(fd: end.rawValue, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 10_000) != 0
    }
}
