/// One of those that do the same thing side by side: a file system as it is mounted, or something that is no file system.
struct Contestant: Hashable, Sendable {
    /// Its column, and its bar in the plots.
    let name: String

    init(_ name: String) { self.name = name }

    static let tmpfs = Contestant("tmpfs")
    static let hugeTmpfs = Contestant("tmpfs, huge pages")
    /// cdmfs with the options that it has by itself: tracked, and over io_uring where the kernel has that.
    static let tracked = Contestant("cdmfs")
    /// The same while `cdmfs record` takes every event.
    static let recorded = Contestant("cdmfs, recorded")
    static let wide = Contestant("cdmfs, fault_around=1M")
    static let direct = Contestant("cdmfs direct")
    static let hugeDirect = Contestant("cdmfs direct, huge pages")
    static let classic = Contestant("cdmfs, classic transport")
    static let ring = Contestant("cdmfs, io_uring")
    static let memfs = Contestant("memfs_ll")
    static let memfsRing = Contestant("memfs_ll, io_uring")
    static let passthrough = Contestant("passthrough_ll")
    static let plainLoop = Contestant("plain C loop")
    static let plainThreads = Contestant("libfuse's threaded loop")

    /// Whether it is a mount of ours.
    var isOurs: Bool { name.hasPrefix("cdmfs") }
}
