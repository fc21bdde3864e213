/// INIT as it came from the kernel, for what libfuse has no name for.
struct InitRequest {
    /// What the kernel offers beyond the first 32 bits (`flags2` of `struct fuse_init_in`).
    struct Offers: OptionSet {
        let rawValue: UInt32

        /// FUSE_DIRECT_IO_ALLOW_MMAP (Linux 6.6).
        static let mappedDirectIO = Offers(rawValue: 1 << 4)
        /// FUSE_OVER_IO_URING (Linux 6.14).
        static let overIOUring = Offers(rawValue: 1 << 9)
    }

    let offers: Offers

    /// Nil where a message is another request.
    init?(_ message: UnsafeRawBufferPointer) {
        // struct fuse_in_header; major, minor, max_readahead, flags, flags2.
        guard message.count >= 56, unsafe message.load(fromByteOffset: 4, as: UInt32.self) == 26 else { return nil }
        let flags = unsafe message.load(fromByteOffset: 52, as: UInt32.self)
        let isExtended = flags & 1 << 30 != 0 && message.count >= 60
        offers = Offers(rawValue: isExtended ? unsafe message.load(fromByteOffset: 56, as: UInt32.self) : 0)
    }
}
