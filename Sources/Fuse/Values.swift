internal import CFuse3
import Glibc

/// The caller of a request.
///
/// All numbers are 0 if the kernel reports no caller, as on write-back.
public struct Caller: Hashable, Sendable {
    /// The file system user id.
    public let uid: UInt32
    /// The file system group id.
    public let gid: UInt32
    /// The calling thread; for a page fault the faulting thread, not its process. Also 0 if the caller is in a PID
    /// namespace that the daemon does not see.
    public let pid: Int32
    /// The file mode creation mask; on CREATE, MKDIR and MKNOD.
    public let umask: UInt32

    /// A caller that is not from a request.
    public init(uid: UInt32, gid: UInt32, pid: Int32, umask: UInt32) {
        self.uid = uid
        self.gid = gid
        self.pid = pid
        self.umask = umask
    }

    init(_ context: borrowing fuse_ctx) {
        uid = context.uid
        gid = context.gid
        pid = context.pid
        umask = context.umask
    }
}

/// The figures of statfs(2).
public struct FileSystemStatistics: Hashable, Sendable {
    /// The size of a block in bytes.
    public var blockSize = 4096
    /// The number of blocks.
    public var blocks: UInt64 = 0
    /// The number of free blocks.
    public var freeBlocks: UInt64 = 0
    /// The number of free blocks that any user may have.
    public var availableBlocks: UInt64 = 0
    /// The number of inodes.
    public var files: UInt64 = 0
    /// The number of free inodes.
    public var freeFiles: UInt64 = 0
    /// The longest name, bytes.
    public var maximumNameLength = 255

    /// The figures of an empty file system.
    public init() {}

    var statvfs: statvfs {
        var result = Glibc.statvfs()
        result.f_bsize = UInt(blockSize)
        result.f_frsize = UInt(blockSize)
        result.f_blocks = UInt(blocks)
        result.f_bfree = UInt(freeBlocks)
        result.f_bavail = UInt(availableBlocks)
        result.f_files = UInt(files)
        result.f_ffree = UInt(freeFiles)
        result.f_favail = UInt(freeFiles)
        result.f_namemax = UInt(maximumNameLength)
        return result
    }
}

/// The events of poll(2).
public struct PollEvents: OptionSet, Hashable, Sendable {
    /// The bits of `struct pollfd`.
    public let rawValue: UInt32

    /// Events from the bits of `struct pollfd`.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// `POLLIN | POLLRDNORM`
    public static let input: PollEvents = [PollEvents(rawValue: 0x001), PollEvents(rawValue: 0x040)]
    /// `POLLPRI`: the event of a changed attribute of sysfs.
    public static let priority = PollEvents(rawValue: 0x002)
    /// `POLLOUT | POLLWRNORM`
    public static let output: PollEvents = [PollEvents(rawValue: 0x004), PollEvents(rawValue: 0x100)]
    /// `POLLERR`
    public static let error = PollEvents(rawValue: 0x008)
    /// `POLLHUP`
    public static let hangUp = PollEvents(rawValue: 0x010)
}

/// An ioctl(2): the module neither decodes the command nor follows pointers.
public struct IoctlCommand: Sendable {
    /// The command, as `_IOWR` and its like encode it.
    public let command: UInt32
    /// The third argument of ioctl(2): a number, or an address in the caller's memory.
    public let argument: UInt64
    /// `FUSE_IOCTL_…` flags.
    public let flags: UInt32
    /// The maximum size of the answer in bytes.
    public let outputSize: Int
}
