import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// `mount -o remount`: other flags for a mount that is there, as mount(8) gives them to its helper.
struct Remount {
    private let mountPoint: String
    private let words: [String]

    /// The flags of mount(2), by their words; `clear` is what a word takes away.
    private static let flags: KeyValuePairs<String, (set: UInt, clear: UInt)> = [
        "ro": (UInt(MS_RDONLY), 0), "rw": (0, UInt(MS_RDONLY)), "nosuid": (UInt(MS_NOSUID), 0),
        "suid": (0, UInt(MS_NOSUID)), "nodev": (UInt(MS_NODEV), 0), "dev": (0, UInt(MS_NODEV)),
        "noexec": (UInt(MS_NOEXEC), 0), "exec": (0, UInt(MS_NOEXEC)), "sync": (UInt(MS_SYNCHRONOUS), 0),
        "async": (0, UInt(MS_SYNCHRONOUS)), "dirsync": (UInt(MS_DIRSYNC), 0),
        "noatime": (UInt(MS_NOATIME), UInt(MS_RELATIME)), "relatime": (UInt(MS_RELATIME), UInt(MS_NOATIME)),
        "norelatime": (0, UInt(MS_RELATIME)), "nodiratime": (UInt(MS_NODIRATIME), 0),
    ]

    /// The words stand in the order in which they were given; a later one wins.
    init(_ mountPoint: String, _ words: [String]) {
        self.mountPoint = mountPoint
        self.words = words
    }

    func run() throws(Failure) {
        guard let path = resolvedPath(mountPoint) else { throw failure("\(Errno.last)") }
        guard let mount = MountInfo.uppermost(at: FilePath(path)) else { throw failure("not mounted") }
        guard mount.isMachine else {
            throw failure("a mount of type \(mount.type); expected \(MountInfo.cdmfs)")
        }
        // mount(2) sets all of the flags, so a flag that the options leave out must be repeated.
        // Of `ro` and `rw`, one of which is the mount's and one the file system's, `ro` is in force.
        let flags = Self.flags(words, on: Self.flags(mount.options.filter { $0 != "rw" }, on: 0))
        guard unsafe Glibc.mount("none", path, nil, flags | UInt(MS_REMOUNT), nil) == 0 else {
            throw failure("\(Errno.last)")
        }
    }

    private static func flags(_ words: [String], on start: UInt) -> UInt {
        words.reduce(start) { flags, word in
            guard let change = Self.flags.first(where: { $0.key == word })?.value else { return flags }
            return flags & ~change.clear | change.set
        }
    }

    private func failure(_ reason: String) -> Failure { Failure(.mount, "mount: \(mountPoint): remount: \(reason)") }
}
