import AttributeTree
import CLinux
import Fuse
import SystemPackage

/// Extended attributes (xattr(7)): the control files of a data file under `user.cdm.NAME`, and what programs store.
///
/// The first answer by name and are not listed, as those of ceph (fs/ceph/xattr.c): a program that copies a file with all that is listed
/// would take figures along that are wrong of the copy.
extension Inode {
    /// Names that begin so are of the first kind, and no user may store under them.
    private static let prefix = "user.cdm."
    /// The most that the kernel takes (XATTR_SIZE_MAX).
    private static let maximumSize = 65536

    private static func isVirtual(_ name: String) -> Bool { name.utf8.starts(with: prefix.utf8) }

    private func attribute(_ name: String) -> BoundAttribute? {
        let rest = name.utf8.dropFirst(Self.prefix.utf8.count)
        return extendedAttributes.first { $0.name.utf8.elementsEqual(rest) }
    }

    /// What stands behind `user.cdm.` in a name of the first kind; nil for another name.
    func controlName(_ name: String) -> String? {
        Self.isVirtual(name) ? String(name.dropFirst(Self.prefix.count)) : nil
    }

    /// The names of what is stored, each with a NUL behind it.
    func extendedAttributeNames(for caller: Caller) -> [UInt8] {
        var names: [FileName] = []
        do throws(Errno) {
            names = try withMetadata { $0.stored.names(isPrivileged: caller.uid == 0) }
        } catch {}
        return names.flatMap { Array($0.string.utf8) + [0] }
    }

    /// A value, for who asks.
    ///
    /// - Throws: EOPNOTSUPP for a name that none can have here, which tells ls(1) not to ask for the access list of each file
    ///   again; ENODATA for none of that name, E2BIG for one that is longer than the kernel takes.
    func extendedAttribute(_ name: String, for client: Client) throws(Errno) -> [UInt8] {
        try StoredAttributes.check(name)
        if Self.isVirtual(name), let attribute = attribute(name) {
            return Array(try attribute.value(for: client, atMost: Self.maximumSize).utf8)
        }
        guard let value = try withMetadata({ $0.stored.value(of: name) }) else { throw .noData }
        return value
    }

    /// Stores a value, or does what a write to the attribute's file does.
    ///
    /// - Parameter reason: where the reason is noted why a control refuses it.
    /// - Throws: EOPNOTSUPP for a name that none can have, EEXIST for one that shall be new, ENODATA for one that shall be there
    ///   and is not, EPERM for who may not, EACCES for an attribute that cannot be written, ENOSPC beyond what a file may have, or
    ///   what the attribute's store throws.
    func storeExtendedAttribute(
        _ name: String, _ value: [UInt8], flags: Int32, caller: Caller, reason: ErrorReason = ErrorReason()
    ) throws(Errno) -> StoreOutcome {
        try StoredAttributes.check(name)
        guard Self.isVirtual(name) else {
            try changeStored(by: caller) { stored throws(Errno) in try stored.set(value, for: name, flags: flags) }
            return .done
        }
        guard let attribute = attribute(name) else {
            throw reason.note(
                flags & XATTR_REPLACE != 0 ? .noData : .notSupported, "the file has no control of that name")
        }
        guard flags & XATTR_CREATE == 0 else { throw reason.note(.fileExists, "a control is always there") }
        guard mayStore(caller) else {
            throw reason.note(.notPermitted, "only the owner of the file, or root, may write its controls")
        }
        do throws(Errno) {
            return try attribute.store(value, by: Client(caller), reason: reason)
        } catch .resourceTemporarilyUnavailable {
            // setxattr(2) makes EOPNOTSUPP of it (fs/xattr.c).
            let clause = reason.clause(of: .resourceTemporarilyUnavailable)
            throw reason.note(.diskQuotaExceeded, clause ?? "a limit of the user is reached")
        }
    }

    /// Takes a stored one away. Those of control files are part of the file: EPERM; ENODATA for what is not there.
    func removeExtendedAttribute(_ name: String, caller: Caller) throws(Errno) {
        try StoredAttributes.check(name)
        if Self.isVirtual(name), attribute(name) != nil { throw .notPermitted }
        try changeStored(by: caller) { stored throws(Errno) in try stored.remove(name) }
    }

    /// Every change of what a file stores.
    private func changeStored(
        by caller: Caller, _ change: (inout StoredAttributes) throws(Errno) -> Void
    ) throws(Errno) {
        try withMetadata { metadata throws(Errno) in
            var stored = metadata.stored
            try change(&stored)
            try charge?.count(attributes: stored.byteCount, by: caller.pid)
            metadata.stored = stored
            metadata.ctime = .now
        }
    }
}

extension Client {
    /// The client of a request. A task without a number here is not `Client.nobody`, which may do everything.
    init(_ caller: Caller) { self.init(task: caller.pid > 0 ? caller.pid : -1, user: caller.uid) }
}
