import AttributeTree
import CLinux
import Fuse
import SystemPackage

/// The attributes of a data file under the names `user.cdm.NAME` (xattr(7)).
extension Inode {
    private static let prefix = "user.cdm."
    /// The most that the kernel takes (XATTR_SIZE_MAX).
    private static let maximumSize = 65536

    private func attribute(_ name: String) -> BoundAttribute? {
        // Asked before each write(2), for the kernel looks for rights to drop: no string is made for that.
        guard name.utf8.starts(with: Self.prefix.utf8) else { return nil }
        let rest = name.utf8.dropFirst(Self.prefix.utf8.count)
        return extendedAttributes.first { $0.name.utf8.elementsEqual(rest) }
    }

    /// The names, each with a NUL behind it.
    var extendedAttributeNames: [UInt8] {
        extendedAttributes.filter(\.isReadable).flatMap { Array((Self.prefix + $0.name).utf8) + [0] }
    }

    /// A value.
    ///
    /// - Throws: EOPNOTSUPP for a name that none can have here, which tells ls(1) not to ask for the access list of each file
    ///   again; ENODATA for none of that name, E2BIG for one that is longer than the kernel takes.
    func extendedAttribute(_ name: String) throws(Errno) -> [UInt8] {
        guard name.utf8.starts(with: "user.".utf8), !extendedAttributes.isEmpty else { throw .notSupported }
        guard let attribute = attribute(name) else { throw .noData }
        return Array(try attribute.value(atMost: Self.maximumSize).utf8)
    }

    /// Stores as a write to the attribute's file does.
    ///
    /// - Throws: EOPNOTSUPP for a name of nobody's, EEXIST for one that shall be new, ENODATA for one that shall be there
    ///   and is not, EPERM for who may not, EACCES for an attribute that cannot be written, or what the store throws.
    func storeExtendedAttribute(
        _ name: String, _ value: [UInt8], flags: Int32, caller: Caller
    ) throws(Errno) -> StoreOutcome {
        guard let attribute = attribute(name) else {
            throw flags & XATTR_REPLACE != 0 ? .noData : .notSupported
        }
        guard flags & XATTR_CREATE == 0 else { throw .fileExists }
        guard mayStore(caller) else { throw .notPermitted }
        do throws(Errno) {
            return try attribute.store(value, by: caller.writer)
        } catch .resourceTemporarilyUnavailable {
            // setxattr(2) makes EOPNOTSUPP of it (fs/xattr.c).
            throw .diskQuotaExceeded
        }
    }

    /// None can be removed: EPERM, and ENODATA for what is not there.
    func removeExtendedAttribute(_ name: String) throws(Errno) {
        throw attribute(name) == nil ? .noData : .notPermitted
    }
}

extension Caller {
    /// Who stores to an attribute. Somebody without a number here is not nobody in particular, who may do everything.
    var writer: Int32 { pid > 0 ? pid : -1 }
}
