internal import CFuse3

/// The open file or directory of a request.
public struct OpenFile: Sendable {
    /// The handle in the daemon's answer to OPEN, CREATE or OPENDIR.
    public var handle: UInt64
    /// The flags of open(2); on OPEN, CREATE, READ, WRITE and RELEASE.
    public var flags: Int32
    /// The owner of locks; on FLUSH, RELEASE, READ and WRITE.
    public var lockOwner: UInt64
    /// On WRITE: whether the page cache writes back a mapped store. The caller is then not the process that stored, and
    /// the handle may belong to another open of the same inode.
    public var isWriteBack: Bool

    /// On READ and WRITE: whether it bypasses the page cache, as with O_DIRECT and ``OpenReply/Options/directIO``. Only
    /// then is a READ certainly a read(2), and only then does the kernel report the caller.
    public var isPastCache: Bool { lockOwner != 0 }

    init(_ info: borrowing fuse_file_info) {
        handle = info.fh
        flags = info.flags
        lockOwner = info.lock_owner
        isWriteBack = info.writepage != 0
    }
}

/// A position in an open file.
public struct FilePosition: Sendable {
    /// The inode.
    public let inode: InodeNumber
    /// The open file; only its handle is known.
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

        /// Reads and writes bypass the page cache; forbids `MAP_SHARED`.
        public static let directIO = Options(rawValue: 1 << 0)
        /// The contents of the page cache stay valid.
        public static let keepCache = Options(rawValue: 1 << 1)
        /// lseek(2) is `ESPIPE`.
        public static let nonSeekable = Options(rawValue: 1 << 2)
        /// The kernel may cache the answers to READDIR.
        public static let cacheDirectory = Options(rawValue: 1 << 3)
        /// close(2) sends no FLUSH.
        public static let noFlush = Options(rawValue: 1 << 4)
    }

    /// A number chosen by the daemon, which every request on this open file carries.
    public var handle: UInt64
    /// How the kernel treats this open file.
    public var options: Options
    /// The file that is mapped in place of the page cache (`FOPEN_PASSTHROUGH`). Together with ``Options/directIO``,
    /// read(2) and write(2) still arrive at the daemon, and `MAP_SHARED` is allowed; of the other options only
    /// ``Options/noFlush`` is allowed. All simultaneous opens of an inode must have the same.
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
