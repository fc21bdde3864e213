import CoherentMemory

/// The limits of scarce resources, for all users of a mount together and for one user. 0 means no limit, as in tmpfs.
public struct Limits: Sendable, Hashable {
    /// Files and directories below buffers/, including that directory.
    public var inodes: UInt64
    /// Direct buffers.
    public var direct: UInt64
    /// Bytes of pinned buffers.
    public var pinned: UInt64 = 0
    /// The share of one user of each limit, percent.
    public var userShare: UInt64 = 25
    /// The share of one user of the frames of each coherent node, percent.
    public var userFrames: UInt64 = 0

    /// Open files of the HMM test devices, root's among them: each takes five descriptors of the daemon.
    static let mirrors: UInt64 = 128
    /// Calls under way on these: each has a thread.
    static let mirrorCalls: UInt64 = 128

    /// The defaults for a host.
    ///
    /// - Parameter memory: the memory that the daemon may use, in bytes.
    public init(memory: UInt64 = HostMemory.size) {
        // As tmpfs: an inode for every other page.
        inodes = max(1024, memory / 8192)
        // Each takes 8 KiB of the kernel's memory and two descriptors: a 64th of the memory, and a quarter of a million at most.
        direct = min(1 << 16, max(256, memory >> 19))
    }
}
