/// How requests arrive from the kernel and how answers return.
public enum Transport: String, Hashable, Sendable, CaseIterable {
    /// io_uring if the kernel offers and permits it, otherwise `/dev/fuse`.
    case automatic = "auto"
    /// Threads that read(2) and writev(2) `/dev/fuse`.
    case classic
    /// FUSE over io_uring (Linux 6.14): a request is served on the CPU of its caller.
    case ioUring = "io_uring"
}
