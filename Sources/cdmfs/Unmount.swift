import ArgumentParser
import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// `cdmfs unmount`
struct Unmount: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Unmount a simulated machine.",
        discussion: """
            Returns after the daemon has exited. If the daemon was killed, the mount point is cleared, busy or not. Any \
            other busy mount is refused, unless an option says what to do. If the file system is still mounted in another \
            mount namespace, such as that of a container or of `cdmfs run`, one line names the processes there.

            Exit status: 0 on success, 32 if the mount cannot be unmounted, 64 for wrong usage.
            """,
        aliases: ["umount"])

    @Flag(name: .shortAndLong, help: "Detach the mount now; the daemon exits after its last user.")
    var lazy = false

    @Flag(name: .shortAndLong, help: "Abort pending requests, then unmount.")
    var force = false

    @Argument(help: "The mount point of the machine.", completion: .mountPoints)
    var mountpoint: String

    /// The seconds to wait for the daemon before looking for processes that keep it.
    private var timeLimit: Double { lazy ? 0.1 : 0.5 }

    func run() throws {
        let path = try resolved()
        guard let mount = MountInfo.uppermost(at: FilePath(path)) else {
            throw Failure(.mount, "unmount: \(mountpoint): not mounted")
        }
        guard mount.isMachine else {
            throw Failure(.mount, "unmount: \(mountpoint): a mount of type \(mount.type); expected \(MountInfo.cdmfs)")
        }
        let daemon = MountedDaemon(of: mount)
        try unmount(path, mount, daemon)
        // The daemon exits within milliseconds, unless a process still has the file system.
        if daemon.waitForEnd(seconds: timeLimit) { return }
        let holders = MountHolder.all(of: mount.device.minor)
        if !holders.isEmpty {
            return complain(
                "unmount: \(mountpoint): unmounted here, but still mounted in the mount namespaces of processes "
                    + holders.map(\.description).joined(separator: ", "))
        }
        if !lazy, !daemon.waitForEnd(), case .running(let pid, _) = daemon {
            complain("unmount: \(mountpoint): unmounted, but the daemon (pid \(pid)) has not exited yet")
        }
    }

    /// The mount point without links. Nothing here is a request to the mount, which may not answer.
    private func resolved() throws(Failure) -> String {
        var path = FilePath(mountpoint)
        // A path that ends in a slash would be looked at from inside.
        if path.components.isEmpty, path.root != nil { path = "/" }
        if let resolved = resolvedPath(path.string) { return resolved }
        let error = Errno.last
        guard error == .socketNotConnected, let name = path.lastComponent,
            let folder = resolvedPath(path.removingLastComponent().isEmpty ? "." : path.removingLastComponent().string)
        else { throw Failure(.mount, "unmount: \(mountpoint): \(error)") }
        return FilePath(folder).appending(name).string
    }

    private func unmount(_ path: String, _ mount: MountInfo, _ daemon: MountedDaemon) throws(Failure) {
        var flags = Int32(UMOUNT_NOFOLLOW)
        if lazy { flags |= Int32(MNT_DETACH) }
        if force { flags |= Int32(MNT_FORCE) }
        if umount(path, flags) { return }
        var error = Errno.last
        var mayDetach = force
        if case .gone = daemon { mayDetach = true }
        if error == .resourceBusy, mayDetach {
            if umount(path, Int32(UMOUNT_NOFOLLOW | MNT_DETACH)) { return }
            error = Errno.last
            // Its daemon, which has seen the end of the connection, may have been faster.
            if MountInfo.uppermost(at: FilePath(path))?.device.minor != mount.device.minor { return }
        }
        if error == .notPermitted, geteuid() != 0 {
            return try unmountAsUser(path, isLazy: lazy || mayDetach)
        }
        throw Failure(.mount, "unmount: \(mountpoint): \(reason(error, daemon))")
    }

    private func reason(_ error: Errno, _ daemon: MountedDaemon) -> String {
        guard error == .resourceBusy else { return "\(error)" }
        if case .silent = daemon { return "its daemon does not answer; --force aborts it" }
        return "busy"
    }

    private func umount(_ path: String, _ flags: Int32) -> Bool { unsafe umount2(path, flags) == 0 }

    /// A user's own mount is unmounted by libfuse's helper.
    private func unmountAsUser(_ path: String, isLazy: Bool) throws(Failure) {
        let words = ["fusermount3", "-u"] + (isLazy ? ["-z"] : []) + ["--", path]
        do {
            let pipe = try FileDescriptor.pipe()
            var actions = unsafe posix_spawn_file_actions_t()
            unsafe posix_spawn_file_actions_init(&actions)
            defer { unsafe posix_spawn_file_actions_destroy(&actions) }
            unsafe posix_spawn_file_actions_adddup2(&actions, pipe.writeEnd.rawValue, 2)
            var pid: pid_t = 0
            let started = unsafe withArgumentVector(words) {
                unsafe posix_spawnp(&pid, words[0], &actions, nil, $0, Glibc.environ)
            }
            guard started == 0 else { throw Errno(rawValue: started) }
            try pipe.writeEnd.close()
            let complaint = try SmallFile.text(pipe.readEnd)
            let status = try SystemCall.waitForEnd(of: pid)
            if status != 0 { throw Failure(.mount, "unmount: \(mountpoint): \(complaint)") }
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(.mount, "unmount: fusermount3: \(error)")
        }
    }
}
