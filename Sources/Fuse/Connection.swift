internal import CFuse3

/// What kernel and daemon may agree on at INIT (`FUSE_CAP_…`).
public struct Capabilities: OptionSet, Hashable, Sendable {
    /// The bits, as libfuse has them.
    public let rawValue: UInt32

    /// Capabilities from `FUSE_CAP_…` bits.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Several reads of one file at a time.
    public static let asyncRead = Capabilities(rawValue: 1 << 0)
    /// `O_TRUNC` arrives in OPEN, in place of a SETATTR.
    public static let atomicTruncate = Capabilities(rawValue: 1 << 3)
    /// Inodes are found again by their numbers after the kernel has forgotten them: LOOKUP of `.` and `..` (file handles, NFS).
    public static let exportSupport = Capabilities(rawValue: 1 << 4)
    /// The daemon applies the umask.
    public static let dontMask = Capabilities(rawValue: 1 << 6)
    /// ioctl(2) on directories.
    public static let directoryIoctl = Capabilities(rawValue: 1 << 11)
    /// A changed mtime or size drops the cached pages.
    public static let autoInvalidateData = Capabilities(rawValue: 1 << 12)
    /// READDIRPLUS
    public static let readdirplus = Capabilities(rawValue: 1 << 13)
    /// READDIRPLUS where the kernel expects it to pay.
    public static let readdirplusAuto = Capabilities(rawValue: 1 << 14)
    /// Direct reads and writes of aio(7) and io_uring(7) are answered while their callers go on. Without, io_uring takes a short read
    /// for one to be continued, and fuse_direct_IO() then reads the same place again.
    public static let asyncDirectIO = Capabilities(rawValue: 1 << 15)
    /// write(2) goes to the page cache first.
    public static let writebackCache = Capabilities(rawValue: 1 << 16)
    /// LOOKUP and READDIR of one directory at a time from several threads.
    public static let parallelDirectoryOperations = Capabilities(rawValue: 1 << 18)
    /// The daemon drops set-id bits on write, truncation and chown.
    public static let handleKillPrivileges = Capabilities(rawValue: 1 << 20)
    /// The kernel keeps what READLINK answered.
    public static let cacheSymlinks = Capabilities(rawValue: 1 << 23)
    /// Only the daemon drops cached pages.
    public static let explicitInvalidateData = Capabilities(rawValue: 1 << 25)

    /// What a file system wants whose page cache must stay as the daemon left it. That libfuse would turn on more, as
    /// `atomicTruncate` and `autoInvalidateData`, is why the set is given in full.
    public static let standard: Capabilities = [
        .asyncRead, .exportSupport, .directoryIoctl, .readdirplus, .readdirplusAuto, .asyncDirectIO,
        .parallelDirectoryOperations,
        .handleKillPrivileges, .explicitInvalidateData,
    ]
}

/// What is asked of the kernel at INIT.
public struct ConnectionOptions: Sendable {
    /// Turned on where the kernel offers it; everything else is off.
    public var capabilities = Capabilities.standard
    /// The largest WRITE, bytes; at most 1 MiB.
    public var maxWrite = 1 << 20
    /// The largest readahead, bytes; nil takes what the kernel offers, which is the most there is.
    public var maxReadahead: Int?
    /// The largest READ, bytes; nil leaves it to the kernel.
    public var maxRead: Int?
    /// How many requests may wait for an answer that nobody need wait for: read-ahead, write-back, and the direct requests of
    /// aio(7) and io_uring(7); at most 65,535. While so many wait, those of all files do. So it must be more than the file system
    /// ever holds back, with room for what those wait for. Of a mount that is not root's the kernel may take less
    /// (`max_user_bgreq` of its fuse module).
    public var maxBackground = 16384
    /// From how many on the kernel calls the mount congested, and reads ahead no more.
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

/// What kernel and daemon agreed on.
public struct Connection: Hashable, Sendable {
    /// The protocol's version, 7.`minor`.
    public let protocolMinor: Int
    /// What the kernel offers.
    public let offered: Capabilities
    /// What was turned on.
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
