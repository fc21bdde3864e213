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
    /// Extended attributes of programs.
    var stored = StoredAttributes()

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

    /// Notes that the last name is gone.
    mutating func unlinked() {
        linkCount = 0
        ctime = .now
    }

    /// A file that changes hands no longer lends the rights of its owner.
    private mutating func dropPrivileges() {
        stored.dropCapability()
        permissions &= ~UInt32(S_ISUID)
        if permissions & UInt32(S_IXGRP) != 0 { permissions &= ~UInt32(S_ISGID) }
    }

    /// The same of what `caller` writes to (FUSE_HANDLE_KILLPRIV). Root's own writes leave the bits (CAP_FSETID); of those of a user
    /// outside of the group goes that of the group, whatever the group may do (setattr_should_drop_sgid()). Of the caller's groups
    /// FUSE tells one.
    mutating func dropPrivileges(by caller: Caller) {
        guard caller.uid != 0 else { return }
        dropPrivileges()
        if caller.gid != gid { permissions &= ~UInt32(S_ISGID) }
    }

    /// Notes a change of the contents.
    mutating func modified() {
        mtime = .now
        ctime = mtime
        // Whichever user wrote, root too.
        stored.dropCapability()
    }

    /// Notes an access, at most once a day where nothing has changed (relatime_need_update() of fs/inode.c).
    mutating func accessed() {
        let day: Int64 = 24 * 60 * 60
        if mtime < atime, ctime < atime, Int64(time(nil)) - atime.seconds < day { return }
        atime = .now
    }

    /// Whose it is, and who may what.
    var ownership: Directory.Ownership {
        Directory.Ownership(permissions: FilePermissions(rawValue: permissions), uid: uid, gid: gid)
    }

    /// Notes a change of the contents some time ago.
    mutating func modified(at time: Timestamp) {
        mtime = max(mtime, time)
        ctime = max(ctime, time)
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
