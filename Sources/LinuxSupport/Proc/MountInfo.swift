public import SystemPackage

/// A mount: a line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
///
/// Use it in place of stat(2) of a path: a stat of a FUSE mount is a request to its daemon, which may be the calling
/// process.
public struct MountInfo: Sendable, Hashable {
    /// The mount point, as the task sees it.
    public let mountPoint: String
    /// The mounted directory of the file system: `/`, or the directory of a bind mount.
    public let root: String
    /// The number of its device; for FUSE, the minor number is that of the connection.
    public let device: DeviceNumber
    /// The type, with the subtype of a FUSE file system: `fuse.NAME`.
    public let type: String
    /// The source given to mount(2).
    public let source: String
    /// The options of the mount and of its file system, such as `ro,noatime`.
    public let options: [String]

    /// The mounts that a task sees, in the order in which they were made.
    ///
    /// - Throws: ENOENT if there is no such task, EACCES if it may not be inspected.
    public static func all(of task: Int32) throws(Errno) -> [MountInfo] { try read("/proc/\(task)/mountinfo") }

    /// The uppermost mount at a path without links; nil if there is none.
    public static func uppermost(at path: FilePath) -> MountInfo? {
        (try? read("/proc/self/mountinfo"))?.last { FilePath($0.mountPoint) == path }
    }

    /// The mount that contains a path without links: the uppermost one at the longest mount point on the way.
    public static func containing(_ path: FilePath) -> MountInfo? {
        var found: MountInfo?
        for mount in (try? read("/proc/self/mountinfo")) ?? [] where path.starts(with: FilePath(mount.mountPoint)) {
            if mount.mountPoint.utf8.count >= found?.mountPoint.utf8.count ?? 0 { found = mount }
        }
        return found
    }

    private static func read(_ table: String) throws(Errno) -> [MountInfo] {
        try SmallFile.text(FilePath(table)).split(separator: "\n").compactMap { MountInfo(line: $0) }
    }

    /// The mount of a line of the table; nil if the line is malformed.
    public init?(line: some StringProtocol) {
        let fields = String(line).split(separator: " ")
        // The optional fields end at a hyphen; the type follows it.
        guard fields.count > 6, let hyphen = fields[6...].firstIndex(of: "-"), hyphen + 1 < fields.count else {
            return nil
        }
        let numbers = fields[2].split(separator: ":").compactMap { Int($0) }
        guard numbers.count == 2 else { return nil }
        device = DeviceNumber(major: numbers[0], minor: numbers[1])
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
            let digits = Substring(rest.prefix(3))
            if byte == UInt8(ascii: "\\"), digits.utf8.count == 3, let code = UInt8(digits, radix: 8) {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
