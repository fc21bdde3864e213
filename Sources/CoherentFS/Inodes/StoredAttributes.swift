import CLinux
import Fuse
import SystemPackage

/// The extended attributes that programs keep at a file or directory (simple_xattrs of fs/xattr.c).
///
/// The kernel has checked who may: `trusted.` and `security.` are root's, `user.` is who's may write to the file.
struct StoredAttributes: Sendable {
    /// The most bytes of all values of a file (KERNFS_USER_XATTR_SIZE_LIMIT); one value has at most 64 KiB (XATTR_SIZE_MAX).
    static let maximumBytes = 128 << 10
    /// The most bytes of all names of a file, each with its NUL: a longer list could not be read (XATTR_LIST_MAX).
    static let maximumNameBytes = 64 << 10

    private static let prefixes = ["user.", "trusted.", "security."]
    /// What a write to the file takes away (capabilities(7)).
    private static let capability: FileName = "security.capability"

    private var values: [FileName: [UInt8]] = [:]
    private var nameBytes = 0
    private var valueBytes = 0

    /// What the attributes take of memory, bytes.
    var byteCount: Int { nameBytes + valueBytes }

    /// Throws EOPNOTSUPP for a name that nothing can be stored under, EINVAL for one that is a prefix alone.
    static func check(_ name: String) throws(Errno) {
        guard let prefix = prefixes.first(where: { name.utf8.starts(with: $0.utf8) }) else { throw .notSupported }
        if name.utf8.count == prefix.utf8.count { throw .invalidArgument }
    }

    /// A value, nil for none of that name.
    func value(of name: String) -> [UInt8]? { values.isEmpty ? nil : values[FileName(name)] }

    /// The names, in their order; those that only root may read left out for others, as tmpfs does.
    func names(isPrivileged: Bool) -> [FileName] {
        values.keys.filter { isPrivileged || !$0.string.utf8.starts(with: "trusted.".utf8) }.sorted()
    }

    /// Stores a value under a name, by the flags of setxattr(2).
    ///
    /// - Throws: EEXIST, ENODATA by the flags; ENOSPC beyond what a file may have.
    mutating func set(_ value: [UInt8], for name: String, flags: Int32) throws(Errno) {
        let name = FileName(name)
        let old = values[name]
        if old != nil, flags & XATTR_CREATE != 0 { throw .fileExists }
        if old == nil, flags & XATTR_REPLACE != 0 { throw .noData }
        let names = nameBytes + (old == nil ? name.string.utf8.count + 1 : 0)
        let bytes = valueBytes - (old?.count ?? 0) + value.count
        guard names <= Self.maximumNameBytes, bytes <= Self.maximumBytes else { throw .noSpace }
        values[name] = value
        (nameBytes, valueBytes) = (names, bytes)
    }

    /// Takes one out. Throws ENODATA where there is none of that name.
    mutating func remove(_ name: String) throws(Errno) {
        let name = FileName(name)
        guard let old = values.removeValue(forKey: name) else { throw .noData }
        nameBytes -= name.string.utf8.count + 1
        valueBytes -= old.count
    }

    /// Takes the rights of the file away, if it has any.
    mutating func dropCapability() {
        guard values[Self.capability] != nil else { return }
        do throws(Errno) { try remove(Self.capability.string) } catch {}
    }
}
