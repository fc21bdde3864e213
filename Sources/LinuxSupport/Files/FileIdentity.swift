import CLinux
public import SystemPackage

/// The number of a device (`dev_t`).
public struct DeviceNumber: Hashable, Sendable, CustomStringConvertible {
    /// The major number; 0 for a file system without a disk, such as FUSE.
    public let major: Int
    /// The minor number; for FUSE, the name of the connection in /sys/fs/fuse/connections.
    public let minor: Int

    /// A device number from its two parts.
    public init(major: Int, minor: Int) {
        (self.major, self.minor) = (major, minor)
    }

    /// `MAJOR:MINOR`, in decimal, as /sys/class/bdi and mountinfo have it.
    public var description: String { "\(major):\(minor)" }
}

/// What a file is, whatever its names: its device and its number there.
public struct FileIdentity: Hashable, Sendable {
    /// The device that it is on.
    public let device: DeviceNumber
    /// Its number there (`st_ino`).
    public let inode: UInt64

    /// The file that a path leads to, as the kernel has it in memory: its file system, which may be anybody's, is not asked
    /// (AT_STATX_DONT_SYNC of statx(2)).
    ///
    /// - Throws: what statx(2) gives.
    public init(cached path: String) throws(Errno) {
        var (major, minor, inode): (UInt32, UInt32, UInt64) = (0, 0, 0)
        try SystemCall.check(unsafe clinux_cached_inode(path, &major, &minor, &inode))
        device = DeviceNumber(major: Int(major), minor: Int(minor))
        self.inode = inode
    }
}
