internal import CFuse3
import Glibc

/// A time stamp of a file (`struct timespec`), since the epoch.
public struct Timestamp: Hashable, Comparable, Sendable {
    /// Whole seconds since 1970-01-01 UTC.
    public var seconds: Int64
    /// 0 to 999,999,999.
    public var nanoseconds: Int64

    /// A point in time; nanoseconds from 0 to 999,999,999.
    public init(seconds: Int64 = 0, nanoseconds: Int64 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    /// The time of `CLOCK_REALTIME`.
    public static var now: Timestamp {
        var time = Glibc.timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(time)
    }

    /// Orders by time.
    public static func < (lhs: Timestamp, rhs: Timestamp) -> Bool {
        (lhs.seconds, lhs.nanoseconds) < (rhs.seconds, rhs.nanoseconds)
    }

    /// The same point in time.
    public init(_ time: timespec) {
        self.init(seconds: Int64(time.tv_sec), nanoseconds: Int64(time.tv_nsec))
    }

    var timespec: timespec {
        Glibc.timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds))
    }
}

/// The type of an inode: the `S_IFMT` bits of its mode.
public struct FileType: RawRepresentable, Hashable, Sendable {
    /// The `S_IFMT` bits of `st_mode`.
    public let rawValue: UInt32

    /// The type in the `S_IFMT` bits of `rawValue`.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue & 0o170000
    }

    /// `S_IFREG`
    public static let regular = FileType(rawValue: 0o100000)
    /// `S_IFDIR`
    public static let directory = FileType(rawValue: 0o040000)
    /// `S_IFLNK`
    public static let symbolicLink = FileType(rawValue: 0o120000)
    /// `S_IFCHR`
    public static let characterDevice = FileType(rawValue: 0o020000)
    /// `S_IFBLK`
    public static let blockDevice = FileType(rawValue: 0o060000)
    /// `S_IFIFO`
    public static let fifo = FileType(rawValue: 0o010000)
    /// `S_IFSOCK`
    public static let socket = FileType(rawValue: 0o140000)
}

/// The attributes that stat(2) shows.
public struct FileAttributes: Hashable, Sendable {
    /// `st_ino`
    public var inode: InodeNumber
    /// `st_mode`: type and permission bits.
    public var mode: UInt32
    /// `st_nlink`
    public var linkCount: UInt32 = 1
    /// `st_uid`
    public var uid: UInt32 = 0
    /// `st_gid`
    public var gid: UInt32 = 0
    /// `st_rdev`, of device files.
    public var device: UInt64 = 0
    /// `st_size`, bytes.
    public var size: Int64 = 0
    /// `st_blocks`, units of 512 bytes.
    public var blocks: Int64 = 0
    /// `st_blksize`, bytes.
    public var blockSize: Int32 = 4096
    /// Last access.
    public var atime = Timestamp()
    /// Last change of the contents.
    public var mtime = Timestamp()
    /// Last change of the inode.
    public var ctime = Timestamp()

    /// Attributes of an inode of a type with permission bits (0 to 0o7777); all others have their defaults.
    public init(inode: InodeNumber, type: FileType, permissions: UInt32) {
        self.inode = inode
        mode = type.rawValue | (permissions & 0o7777)
    }

    /// The type in `mode`.
    public var type: FileType { FileType(rawValue: mode) }

    /// The `0o7777` bits of `mode`.
    public var permissions: UInt32 {
        get { mode & 0o7777 }
        set { mode = (mode & ~0o7777) | (newValue & 0o7777) }
    }

    var stat: stat {
        var result = Glibc.stat()
        result.st_ino = UInt(inode.rawValue)
        result.st_mode = mode
        result.st_nlink = UInt(linkCount)
        result.st_uid = uid
        result.st_gid = gid
        result.st_rdev = UInt(device)
        result.st_size = Int(size)
        result.st_blocks = Int(blocks)
        result.st_blksize = Int(blockSize)
        result.st_atim = atime.timespec
        result.st_mtim = mtime.timespec
        result.st_ctim = ctime.timespec
        return result
    }
}

/// A name that was found or made: the answer to LOOKUP, CREATE, MKDIR and similar requests. Each such answer counts as
/// one lookup, which the kernel returns with FORGET.
public struct Entry: Hashable, Sendable {
    /// The inode; 0 means "no such name", and the kernel caches that for `entryTimeout`.
    public var inode: InodeNumber
    /// Distinguishes inodes that reuse a number.
    public var generation: UInt64 = 0
    /// The inode's attributes.
    public var attributes: FileAttributes
    /// Seconds for which the kernel may cache the name.
    public var entryTimeout: Double
    /// Seconds for which the kernel may cache the attributes.
    public var attributeTimeout: Double

    /// An entry for the inode that `attributes` describe; timeouts in seconds.
    public init(attributes: FileAttributes, entryTimeout: Double = 0, attributeTimeout: Double = 0) {
        inode = attributes.inode
        self.attributes = attributes
        self.entryTimeout = entryTimeout
        self.attributeTimeout = attributeTimeout
    }

    var parameters: fuse_entry_param {
        var result = fuse_entry_param()
        result.ino = inode.rawValue
        result.generation = generation
        result.attr = attributes.stat
        result.attr_timeout = attributeTimeout
        result.entry_timeout = entryTimeout
        return result
    }
}
