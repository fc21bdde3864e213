import CLinux
import Glibc
import LinuxSupport
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
        let holders = Self.holders(of: mount.device.minor)
        if holders.count == 1, let running = Self.running(holders[0]) {
            self = running
            return
        }
        // The question is a request, which a hung daemon never answers; and it keeps the mount busy meanwhile.
        self = answer(within: 1) { Self.ask(mount.mountPoint) } ?? .silent
        // Where it does not say, the last daemon is the one that has the mount.
        if case .silent = self, let last = holders.max(by: { Self.start(of: $0) < Self.start(of: $1) }),
            let running = Self.running(last)
        {
            self = running
        }
    }

    /// When a process was started, in ticks after boot; 0 for one that is gone.
    private static func start(of pid: pid_t) -> UInt64 { ProcStat(task: pid)?.startTime ?? 0 }

    /// The processes of this name that hold a FUSE connection, which newer kernels show in /proc/PID/fdinfo.
    private static func holders(of connection: Int) -> [pid_t] {
        ProcFile.processes.filter { pid in
            guard ProcFile.name(of: pid) == "cdmfs" else { return false }
            let folder = "/proc/\(pid)/fdinfo"
            return (DirectoryListing.numbers(in: folder) ?? []).contains { descriptor in
                ProcFile.read("\(folder)/\(descriptor)") { ProcFile.number("fuse_connection", in: $0) }
                    == UInt64(connection)
            }
        }
    }

    private static func ask(_ mountPoint: String) -> MountedDaemon {
        do {
            let text = try SmallFile.text(FilePath(mountPoint).appending("sys/kernel/cdm/pid"))
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

    /// Waits until it has gone, at most so many seconds; false if it has not by then.
    func waitForEnd(seconds: Double = 10) -> Bool {
        guard case .running(_, let end) = self else { return true }
        var entry = pollfd(fd: end.rawValue, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, Int32(seconds * 1000)) != 0
    }
}
