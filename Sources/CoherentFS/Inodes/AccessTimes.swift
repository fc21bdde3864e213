/// Whether times of last access are kept, by the words of mount(8).
///
/// The kernel leaves them to the daemon (S_NOATIME in fuse_init_inode()), and tells it nothing of how it is mounted.
struct AccessTimes: Sendable {
    /// Of files.
    let files: Bool
    /// Of directories.
    let directories: Bool

    init(mountedWith words: [String] = []) {
        files = !words.contains("noatime") && !words.contains("ro")
        directories = files && !words.contains("nodiratime")
    }
}
