internal import CFuse3

/// The features that kernel and daemon negotiate at INIT (`FUSE_CAP_…`).
public struct Capabilities: OptionSet, Hashable, Sendable {
    /// The `FUSE_CAP_…` bits of libfuse.
    public let rawValue: UInt32

    /// Capabilities from `FUSE_CAP_…` bits.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Several reads of one file at a time.
    public static let asyncRead = Capabilities(rawValue: 1 << 0)
    /// `O_TRUNC` arrives in OPEN, in place of a SETATTR.
    public static let atomicTruncate = Capabilities(rawValue: 1 << 3)
    /// An inode can be found by its number after the kernel has forgotten it: LOOKUP of `.` and `..` (file handles,
    /// NFS).
    public static let exportSupport = Capabilities(rawValue: 1 << 4)
    /// The daemon applies the umask.
    public static let dontMask = Capabilities(rawValue: 1 << 6)
    /// ioctl(2) on directories.
    public static let directoryIoctl = Capabilities(rawValue: 1 << 11)
    /// A changed mtime or size drops the cached pages.
    public static let autoInvalidateData = Capabilities(rawValue: 1 << 12)
    /// READDIRPLUS
    public static let readdirplus = Capabilities(rawValue: 1 << 13)
    /// READDIRPLUS if the kernel expects a benefit.
    public static let readdirplusAuto = Capabilities(rawValue: 1 << 14)
    /// Direct reads and writes of aio(7) and io_uring(7) are asynchronous. Without it, io_uring continues a short read,
    /// and fuse_direct_IO() then reads the same place again.
    public static let asyncDirectIO = Capabilities(rawValue: 1 << 15)
    /// write(2) goes to the page cache first.
    public static let writebackCache = Capabilities(rawValue: 1 << 16)
    /// LOOKUP and READDIR of one directory at a time from several threads.
    public static let parallelDirectoryOperations = Capabilities(rawValue: 1 << 18)
    /// The daemon drops set-id bits on write, truncation and chown.
    public static let handleKillPrivileges = Capabilities(rawValue: 1 << 20)
    /// The kernel caches the answers to READLINK.
    public static let cacheSymlinks = Capabilities(rawValue: 1 << 23)
    /// Only the daemon drops cached pages.
    public static let explicitInvalidateData = Capabilities(rawValue: 1 << 25)

    /// The set for a file system whose page cache only the daemon invalidates. It is complete, because libfuse would
    /// turn on more, such as `atomicTruncate` and `autoInvalidateData`.
    public static let standard: Capabilities = [
        .asyncRead, .exportSupport, .directoryIoctl, .readdirplus, .readdirplusAuto, .asyncDirectIO,
        .parallelDirectoryOperations,
        .handleKillPrivileges, .explicitInvalidateData,
    ]
}

/// The daemon's requests at INIT.
public struct ConnectionOptions: Sendable {
    /// The features to turn on if the kernel offers them; all others are off.
    public var capabilities = Capabilities.standard
    /// The largest WRITE, bytes; at most 1 MiB.
    public var maxWrite = 1 << 20
    /// The largest readahead, bytes; nil accepts the kernel's offer, which is the maximum.
    public var maxReadahead: Int?
    /// The largest READ, bytes; nil lets the kernel decide.
    public var maxRead: Int?
    /// The maximum number of pending background requests: read-ahead, write-back, and the direct requests of aio(7) and
    /// io_uring(7); at most 65,535. At this number, the background requests of all files wait. So it must be larger
    /// than the number of requests that the file system ever holds back, plus those that they wait for. For a mount
    /// that is not root's the kernel may apply a lower limit (`max_user_bgreq` of its fuse module).
    public var maxBackground = 16384
    /// The number of background requests from which the kernel treats the mount as congested and stops read-ahead.
    public var congestionThreshold = 12288
    /// The granularity of time stamps, ns: a power of 10.
    public var timeGranularity = 1

    /// The defaults given at each property.
    public init() {}

    func apply(to info: inout fuse_conn_info, readdirplus: Bool) {
        let wanted = readdirplus ? capabilities : capabilities.subtracting([.readdirplus, .readdirplusAuto])
        info.want = info.capable & wanted.rawValue
        info.max_write = min(info.max_write, UInt32(clamping: maxWrite))
        if let maxReadahead { info.max_readahead = min(info.max_readahead, UInt32(clamping: maxReadahead)) }
        if let maxRead { info.max_read = UInt32(clamping: maxRead) }
        info.max_background = UInt32(clamping: maxBackground)
        info.congestion_threshold = UInt32(clamping: congestionThreshold)
        info.time_gran = UInt32(clamping: timeGranularity)
        unsafe cfuse3_want_passthrough(&info)
    }
}

/// The result of the negotiation between kernel and daemon.
public struct Connection: Hashable, Sendable {
    /// The protocol's version, 7.`minor`.
    public let protocolMinor: Int
    /// The features that the kernel offers.
    public let offered: Capabilities
    /// The features that are on.
    public let enabled: Capabilities
    /// The largest WRITE, bytes.
    public let maxWrite: Int
    /// The largest readahead, bytes.
    public let maxReadahead: Int

    init(_ info: borrowing fuse_conn_info) {
        protocolMinor = Int(info.proto_minor)
        offered = Capabilities(rawValue: info.capable)
        enabled = Capabilities(rawValue: info.want)
        maxWrite = Int(info.max_write)
        maxReadahead = Int(info.max_readahead)
    }
}
