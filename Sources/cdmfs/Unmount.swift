import ArgumentParser
import CLinux
import Glibc
import SystemPackage

/// `cdmfs unmount`
struct Unmount: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Unmount a simulated machine.",
        discussion: """
            Returns once the daemon has ended. A mount whose daemon was killed is cleared, busy or not. A mount that is busy is
            refused with status 32, unless one of the options says otherwise.
            """,
        aliases: ["umount"])

    @Flag(name: .shortAndLong, help: "Take the mount out of the tree now, and end when its last user is done.")
    var lazy = false

    @Flag(name: .shortAndLong, help: "Abort what is under way in the mount, then unmount.")
    var force = false

    @Argument(help: "Where the machine is mounted.")
    var mountpoint: String

    func run() throws {
        let path = try resolved()
        guard let mount = MountInfo.uppermost(at: path) else {
            throw Failure(.mount, "unmount: \(mountpoint): not mounted")
        }
        guard mount.type == "fuse.cdmfs" else {
            throw Failure(.mount, "unmount: \(mountpoint): a mount of type \(mount.type); expected fuse.cdmfs")
        }
        let daemon = MountedDaemon(of: path)
        try unmount(path, daemon)
        if !lazy, !daemon.waitForEnd(), case .running(let pid, _) = daemon {
            complain("unmount: \(mountpoint): unmounted, but the daemon (pid \(pid)) has not ended yet")
        }
    }

    /// The mount point without links. Nothing here is a request to the mount, which may not answer.
    private func resolved() throws(Failure) -> String {
        var path = FilePath(mountpoint)
        // A path that ends in a slash would be looked at from inside.
        if path.components.isEmpty { path = "/" }
        if let resolved = unsafe realpath(path.string, nil) {
            defer { unsafe free(resolved) }
            return unsafe String(cString: resolved)
        }
        let error = lastError()
        guard error == .socketNotConnected, let name = path.lastComponent,
            let folder = unsafe realpath(
                path.removingLastComponent().isEmpty ? "." : path.removingLastComponent().string, nil)
        else { throw Failure(.mount, "unmount: \(mountpoint): \(error)") }
        defer { unsafe free(folder) }
        return unsafe FilePath(platformString: folder).appending(name).string
    }

    private func unmount(_ path: String, _ daemon: MountedDaemon) throws(Failure) {
        var flags = Int32(UMOUNT_NOFOLLOW)
        if lazy { flags |= Int32(MNT_DETACH) }
        if force { flags |= Int32(MNT_FORCE) }
        if umount(path, flags) { return }
        var error = lastError()
        var mayDetach = force
        if case .gone = daemon { mayDetach = true }
        if error == .resourceBusy, mayDetach {
            if umount(path, Int32(UMOUNT_NOFOLLOW | MNT_DETACH)) { return }
            error = lastError()
        }
        if error == .notPermitted, geteuid() != 0 {
            return try unmountAsUser(path, isLazy: lazy || mayDetach)
        }
        throw Failure(.mount, "unmount: \(mountpoint): \(error == .resourceBusy ? "busy" : "\(error)")")
    }

    private func umount(_ path: String, _ flags: Int32) -> Bool { unsafe umount2(path, flags) == 0 }

    /// A user's own mount is unmounted by libfuse's helper, which says itself why it cannot.
    private func unmountAsUser(_ path: String, isLazy: Bool) throws(Failure) {
        let words = ["fusermount3", "-u"] + (isLazy ? ["-z"] : []) + ["--", path]
        var pid: pid_t = 0
        let started = unsafe withArgumentVector(words) { unsafe posix_spawnp(&pid, words[0], nil, nil, $0, Glibc.environ) }
        guard started == 0 else {
            throw Failure(.mount, "unmount: fusermount3: \(Errno(rawValue: started))")
        }
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, 0) < 0, Glibc.errno == EINTR {}
        guard status == 0 else { throw Failure(.mount, "unmount: \(mountpoint): refused by fusermount3") }
    }
}
