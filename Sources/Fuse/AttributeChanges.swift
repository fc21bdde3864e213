internal import CFuse3
import Glibc

/// The changes of a SETATTR: chmod(2), chown(2), truncate(2) and utimensat(2) all arrive as one of these.
public struct AttributeChanges: Sendable {
    /// The attributes to change.
    public struct Fields: OptionSet, Sendable {
        /// The `FUSE_SET_ATTR_…` bits.
        public let rawValue: Int32

        /// Fields from `FUSE_SET_ATTR_…` bits.
        public init(rawValue: Int32) {
            self.rawValue = rawValue
        }

        /// The permission bits.
        public static let mode = Fields(rawValue: 1 << 0)
        /// The owner.
        public static let uid = Fields(rawValue: 1 << 1)
        /// The group.
        public static let gid = Fields(rawValue: 1 << 2)
        /// The size.
        public static let size = Fields(rawValue: 1 << 3)
        /// The time of last access.
        public static let atime = Fields(rawValue: 1 << 4)
        /// The time of last modification.
        public static let mtime = Fields(rawValue: 1 << 5)
        /// Together with `atime`: the present time (`UTIME_NOW`), which write permission is enough to set.
        public static let atimeNow = Fields(rawValue: 1 << 7)
        /// Together with `mtime`: the present time (`UTIME_NOW`).
        public static let mtimeNow = Fields(rawValue: 1 << 8)
        /// The time of the last change of the inode.
        public static let ctime = Fields(rawValue: 1 << 10)
    }

    /// The attributes to change.
    public let fields: Fields
    private let values: stat

    init(_ values: stat, _ bits: Int32) {
        self.values = values
        fields = Fields(rawValue: bits)
    }

    /// The new mode; nil keeps the old one.
    public var mode: UInt32? { fields.contains(.mode) ? values.st_mode : nil }
    /// The new owner; nil keeps the old one.
    public var uid: UInt32? { fields.contains(.uid) ? values.st_uid : nil }
    /// The new group; nil keeps the old one.
    public var gid: UInt32? { fields.contains(.gid) ? values.st_gid : nil }
    /// The new size in bytes; nil keeps the old one.
    public var size: Int64? { fields.contains(.size) ? Int64(values.st_size) : nil }
    /// The new time of last access; nil keeps the old one. "Now" gives the present time.
    public var atime: Timestamp? { time(.atime, now: .atimeNow, values.st_atim) }
    /// The new time of last modification; nil keeps the old one. "Now" gives the present time.
    public var mtime: Timestamp? { time(.mtime, now: .mtimeNow, values.st_mtim) }
    /// The new time of last inode change; nil keeps the old one.
    public var ctime: Timestamp? { fields.contains(.ctime) ? Timestamp(values.st_ctim) : nil }

    private func time(_ field: Fields, now: Fields, _ value: timespec) -> Timestamp? {
        if fields.contains(now) { return .now }
        return fields.contains(field) ? Timestamp(value) : nil
    }
}
