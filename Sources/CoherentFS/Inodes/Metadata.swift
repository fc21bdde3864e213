import AttributeTree
import Fuse
import Glibc
import SystemPackage

/// Owner, permissions and times of a file or directory below buffers/, or of a device file.
struct Metadata: Sendable {
    var permissions: UInt32
    var uid: UInt32
    var gid: UInt32
    var linkCount: UInt32 = 1
    var atime: Timestamp
    var mtime: Timestamp
    var ctime: Timestamp

    init(permissions: UInt32, uid: UInt32, gid: UInt32) {
        let now = Timestamp.now
        self.permissions = permissions & 0o7777
        self.uid = uid
        self.gid = gid
        (atime, mtime, ctime) = (now, now, now)
    }

    /// Of something new in a directory: a set-group-id directory hands its group down, and its bit to directories.
    init(permissions: UInt32, caller: Caller, in parent: Metadata, isDirectory: Bool) {
        let inherits = parent.permissions & UInt32(S_ISGID) != 0
        self.init(
            permissions: permissions | (inherits && isDirectory ? UInt32(S_ISGID) : 0), uid: caller.uid,
            gid: inherits ? parent.gid : caller.gid)
    }

    /// Applies chmod(2), chown(2) and utimensat(2); the kernel has checked that the caller may (default_permissions).
    mutating func apply(_ changes: AttributeChanges, isDirectory: Bool = false) {
        if let mode = changes.mode { permissions = mode & 0o7777 }
        if let uid = changes.uid { self.uid = uid }
        if let gid = changes.gid { self.gid = gid }
        if !isDirectory, changes.mode == nil, changes.uid != nil || changes.gid != nil { dropPrivileges() }
        if let atime = changes.atime { self.atime = atime }
        if let mtime = changes.mtime { self.mtime = mtime }
        ctime = changes.ctime ?? .now
    }

    /// What is written to is no longer to be trusted with somebody's rights (FUSE_HANDLE_KILLPRIV).
    mutating func dropPrivileges() {
        permissions &= ~UInt32(S_ISUID)
        if permissions & UInt32(S_IXGRP) != 0 { permissions &= ~UInt32(S_ISGID) }
    }

    /// Notes a change of the contents.
    mutating func modified() {
        mtime = .now
        ctime = mtime
    }

    /// Whose it is, and who may what.
    var ownership: Directory.Ownership {
        Directory.Ownership(permissions: FilePermissions(rawValue: permissions), uid: uid, gid: gid)
    }

    func fill(_ attributes: inout FileAttributes) {
        attributes.permissions = permissions
        attributes.uid = uid
        attributes.gid = gid
        attributes.linkCount = linkCount
        attributes.atime = atime
        attributes.mtime = mtime
        attributes.ctime = ctime
    }
}
