import CLinux
import Dispatch
import Glibc
import Synchronization
import SystemPackage

/// What can be learnt of the daemon behind a mount without trusting it to answer.
enum MountedDaemon {
    /// It serves; the descriptor is readable once it has gone.
    case running(pid: pid_t, end: FileDescriptor)
    /// It has gone and left the mount.
    case gone
    /// It does not answer, or does not say who it is.
    case unknown

    /// Asks the daemon of a mount, for at most a second: the question is a request that a hung daemon never answers.
    init(of mountPoint: String) {
        let answer = Mutex<MountedDaemon>(.unknown)
        let box = Box(answer)
        let done = DispatchSemaphore(value: 0)
        DispatchQueue.global().async {
            let found = MountedDaemon.ask(mountPoint)
            box.answer.withLock { $0 = found }
            done.signal()
        }
        _ = done.wait(timeout: .now() + 1)
        self = box.answer.withLock { $0 }
    }

    private final class Box: Sendable {
        let answer: Mutex<MountedDaemon>
        init(_ answer: consuming Mutex<MountedDaemon>) { self.answer = answer }
    }

    private static func ask(_ mountPoint: String) -> MountedDaemon {
        do {
            let text = try readAll(FilePath(mountPoint).appending("sys/kernel/cdm/pid"))
            guard let pid = pid_t(text.prefix { $0.isNumber }), pid > 1 else { return .unknown }
            let end = pidfd_open(pid, 0)
            return end < 0 ? .unknown : .running(pid: pid, end: FileDescriptor(rawValue: end))
        } catch Errno.socketNotConnected {
            return .gone
        } catch {
            return .unknown
        }
    }

    /// Waits until it has gone, at most ten seconds; false if it has not by then.
    func waitForEnd() -> Bool {
        guard case .running(_, let end) = self else { return true }
        var entry = pollfd(fd: end.rawValue, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 10_000) != 0
    }
}
