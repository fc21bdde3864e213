internal import CFuse3

/// The open file or directory that a request speaks of.
public struct OpenFile: Sendable {
    /// What the daemon answered to OPEN, CREATE or OPENDIR.
    public var handle: UInt64
    /// The flags of open(2); on OPEN, CREATE, READ, WRITE and RELEASE.
    public var flags: Int32
    /// Who asks, for locks; on FLUSH, RELEASE, READ and WRITE.
    public var lockOwner: UInt64
    /// On WRITE: the page cache writes back a mapped store. The caller is not the one who stored then, and the handle may be
    /// that of another open of the same inode.
    public var isWriteBack: Bool

    /// On READ and WRITE: whether it goes past the page cache, as O_DIRECT and ``OpenReply/Options/directIO`` want it. Only then is
    /// there a read(2) behind a READ for certain, and only of such a call does the kernel tell who asks.
    public var isPastCache: Bool { lockOwner != 0 }

    init(_ info: borrowing fuse_file_info) {
        handle = info.fh
        flags = info.flags
        lockOwner = info.lock_owner
        isWriteBack = info.writepage != 0
    }
}

/// A place in an open file.
public struct FilePosition: Sendable {
    /// The inode.
    public let inode: InodeNumber
    /// The open file; of it only the handle is known.
    public let file: OpenFile
    /// Bytes from its start; not negative.
    public let offset: Int64
}

/// The answer to OPEN, CREATE and OPENDIR.
public struct OpenReply: Sendable {
    /// How the kernel treats this open file (`FOPEN_…`).
    public struct Options: OptionSet, Sendable {
        /// The bits.
        public let rawValue: UInt8

        /// Options from bits.
        public init(rawValue: UInt8) {
            self.rawValue = rawValue
        }

        /// Reads and writes go past the page cache; forbids `MAP_SHARED`.
        public static let directIO = Options(rawValue: 1 << 0)
        /// What is in the page cache stays valid.
        public static let keepCache = Options(rawValue: 1 << 1)
        /// lseek(2) is `ESPIPE`.
        public static let nonSeekable = Options(rawValue: 1 << 2)
        /// The kernel may keep what READDIR answered.
        public static let cacheDirectory = Options(rawValue: 1 << 3)
        /// close(2) sends no FLUSH.
        public static let noFlush = Options(rawValue: 1 << 4)
    }

    /// A number of the daemon's own, which comes back in every request on this open file.
    public var handle: UInt64
    /// How the kernel treats this open file.
    public var options: Options
    /// Where mappings go in place of the page cache (`FOPEN_PASSTHROUGH`). Together with ``Options/directIO``, read(2) and
    /// write(2) still come to the daemon, and `MAP_SHARED` is allowed; of the other options only ``Options/noFlush`` is.
    /// All opens of an inode at a time must have the same.
    public var backing: BackingID?

    /// An answer with a handle and options.
    public init(handle: UInt64 = 0, options: Options = [], backing: BackingID? = nil) {
        self.handle = handle
        self.options = options
        self.backing = backing
    }

    var info: fuse_file_info {
        var info = fuse_file_info()
        info.fh = handle
        info.direct_io = options.contains(.directIO) ? 1 : 0
        info.keep_cache = options.contains(.keepCache) ? 1 : 0
        info.nonseekable = options.contains(.nonSeekable) ? 1 : 0
        info.cache_readdir = options.contains(.cacheDirectory) ? 1 : 0
        info.noflush = options.contains(.noFlush) ? 1 : 0
        return info
    }
}
