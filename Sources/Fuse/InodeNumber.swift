/// The number of an inode between kernel and daemon (`nodeid` in the FUSE protocol).
public struct InodeNumber: RawRepresentable, Hashable, Comparable, Sendable, ExpressibleByIntegerLiteral {
    /// The number; 0 is not an inode.
    public let rawValue: UInt64

    /// An inode number with the given value.
    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// An inode number with the given value.
    public init(integerLiteral value: UInt64) {
        rawValue = value
    }

    /// The root of the mount (`FUSE_ROOT_ID`).
    public static let root: InodeNumber = 1

    /// Orders by value.
    public static func < (lhs: InodeNumber, rhs: InodeNumber) -> Bool {
        lhs.rawValue < rhs.rawValue
    }
}
