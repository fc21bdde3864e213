import CLinux
import Glibc
import LinuxSupport
import SystemPackage

extension MountInfo {
    /// The type of our mounts.
    static let cdmfs = "fuse.cdmfs"

    /// Whether it is a machine of ours.
    var isMachine: Bool { type == Self.cdmfs }

    /// Takes machines out of the mount namespace, the last ones first; their last users end them.
    ///
    /// - Parameter isMeant: of which this is wanted.
    /// - Throws: what umount2(2) gives for the first that cannot be taken out; the others are.
    static func detach(_ isMeant: (MountInfo) -> Bool) throws(Errno) {
        var failure: Errno?
        for mount in ((try? all(of: getpid())) ?? []).reversed() where mount.isMachine && isMeant(mount) {
            // One that another is mounted over cannot be named.
            guard uppermost(at: FilePath(mount.mountPoint))?.device == mount.device else { continue }
            if unsafe umount2(mount.mountPoint, Int32(MNT_DETACH | UMOUNT_NOFOLLOW)) != 0 {
                failure = failure ?? Errno.last
            }
        }
        if let failure { throw failure }
    }
}
