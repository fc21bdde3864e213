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

    /// `MAJOR:MINOR`, in decimal, as in /sys/class/bdi and mountinfo.
    public var description: String { "\(major):\(minor)" }
}

/// The identity of a file, independent of its names: its device and its inode.
public struct FileIdentity: Hashable, Sendable {
    /// The device of the file.
    public let device: DeviceNumber
    /// Its inode on the device (`st_ino`).
    public let inode: UInt64

    /// The file of a path, from the kernel's memory: statx(2) with AT_STATX_DONT_SYNC sends no request to the file
    /// system, which any user may serve.
    ///
    /// - Throws: errors of statx(2).
    public init(cached path: String) throws(Errno) {
        var (major, minor, inode): (UInt32, UInt32, UInt64) = (0, 0, 0)
        try SystemCall.check(unsafe clinux_cached_inode(path, &major, &minor, &inode))
        device = DeviceNumber(major: Int(major), minor: Int(minor))
        self.inode = inode
    }
}
