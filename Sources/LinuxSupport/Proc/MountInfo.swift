import CLinux
import Glibc
import SystemPackage

/// A line of /proc/self/mountinfo.
struct MountInfo {
    /// The type of our mounts.
    static let cdmfs = "fuse.cdmfs"

    let mountPoint: String
    /// What of the file system is mounted: `/`, or a directory of it that is bound here.
    let root: String
    /// The minor number of its device; for FUSE, the number of the connection.
    let minor: Int
    let type: String
    /// What was mounted, as whoever mounted it said.
    let source: String
    /// The words of the mount and of its file system, as in `ro,noatime`.
    let options: [String]

    /// The mount that is uppermost at a path without links; `nil` where nothing is mounted.
    static func uppermost(at path: String) -> MountInfo? {
        guard let table = try? readAll("/proc/self/mountinfo") else { return nil }
        return table.split(separator: "\n").compactMap(MountInfo.init).last { $0.mountPoint == path }
    }

    /// The mounts that a task sees, in the order in which they were made.
    static func all(of task: Int32) throws -> [MountInfo] {
        try readAll(FilePath("/proc/\(task)/mountinfo")).split(separator: "\n").compactMap(MountInfo.init)
    }

    /// The mount that a path without links leads into: that of the longest mount point on the way, the uppermost there.
    static func containing(_ path: FilePath) -> MountInfo? {
        guard let table = try? readAll("/proc/self/mountinfo") else { return nil }
        var found: MountInfo?
        for mount in table.split(separator: "\n").compactMap(MountInfo.init)
        where path.starts(with: FilePath(mount.mountPoint)) {
            if mount.mountPoint.utf8.count >= found?.mountPoint.utf8.count ?? 0 { found = mount }
        }
        return found
    }

    /// Takes machines out of the mount namespace, the last ones first; their last users end them.
    ///
    /// - Parameter isMeant: of which this is wanted.
    /// - Throws: what umount2(2) gives for the first that cannot be taken out; the others are.
    static func detach(_ isMeant: (MountInfo) -> Bool) throws(Errno) {
        var failure: Errno?
        for mount in ((try? all(of: getpid())) ?? []).reversed() where mount.type == "fuse.cdmfs" && isMeant(mount) {
            // One that another is mounted over cannot be named.
            guard uppermost(at: mount.mountPoint)?.minor == mount.minor else { continue }
            if unsafe umount2(mount.mountPoint, Int32(MNT_DETACH | UMOUNT_NOFOLLOW)) != 0 {
                failure = failure ?? lastError()
            }
        }
        if let failure { throw failure }
    }

    private init?(_ line: Substring) {
        let fields = line.split(separator: " ")
        // The optional fields end at a hyphen; the type follows it.
        guard fields.count > 6, let hyphen = fields[6...].firstIndex(of: "-"), hyphen + 1 < fields.count else {
            return nil
        }
        guard let minor = fields[2].split(separator: ":").last.flatMap({ Int($0) }) else { return nil }
        self.minor = minor
        mountPoint = Self.unescape(fields[4])
        root = Self.unescape(fields[3])
        type = String(fields[hyphen + 1])
        let rest = fields[(hyphen + 2)...]
        source = rest.first.map(Self.unescape) ?? ""
        options = ([fields[5]] + rest.dropFirst().prefix(1)).flatMap { $0.split(separator: ",").map(String.init) }
    }

    /// Blanks, tabs, newlines and backslashes stand as `\` and three octal digits.
    private static func unescape(_ field: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = field.utf8[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), let code = Substring(rest.prefix(3)).octal {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// A path without links, as the table has mount points; nil, with an errno, where it leads nowhere.
func resolvedPath(_ path: String) -> String? {
    guard let resolved = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
}

extension Substring {
    fileprivate var octal: UInt8? { utf8.count == 3 ? UInt8(self, radix: 8) : nil }
}
