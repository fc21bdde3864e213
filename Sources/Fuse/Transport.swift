/// How requests come from the kernel and their answers go back.
public enum Transport: String, Hashable, Sendable, CaseIterable {
    /// Over io_uring where the kernel offers it and lets this process, otherwise the classic way.
    case automatic = "auto"
    /// Threads that read(2) and writev(2) `/dev/fuse`.
    case classic
    /// FUSE over io_uring (Linux 6.14): the CPU that asks is the CPU that answers.
    case ioUring = "io_uring"
}
