import SystemPackage

/// The operations of a mount: one method for each, to be overridden if the file system implements it.
///
/// The workers call the methods concurrently. Each gets the request and answers it before or after it returns (see
/// `Request.deferred()`), but must never wait for another request. A method that is not overridden answers as libfuse
/// does for a missing operation, mostly `ENOSYS`. The kernel then no longer sends the operations that are optional:
/// ACCESS, FLUSH, FSYNC, CREATE, LSEEK, POLL, the extended attributes, FALLOCATE.
///
/// It is a class, because C callbacks cannot be generic and a method table costs nothing on READ. One file system
/// serves one `Session` at a time.
open class FileSystem: @unchecked Sendable {
    // Unchecked: this class has no mutable state; a subclass guards its own.

    /// Notifications from the daemon to the kernel; they throw `ENODEV` while there is no session.
    public final let notifier = Notifier()

    /// Where answers go that came over io_uring: set by the session before it serves, and taken back after.
    final var rings: UnretainedRings?

    /// A file system without a session.
    public init() {}

    // MARK: The connection

    /// Whether `readdirplus` is overridden: after a READDIRPLUS that fails, the kernel does not use READDIR.
    open var implementsReaddirplus: Bool { false }

    /// Zeroed memory with the lifetime of the session, if the file system has some. If `read` answers with parts of it,
    /// most of them need not be copied over io_uring.
    open var zeros: UnsafeRawBufferPointer? { nil }

    /// INIT: called once, before all others.
    open func initialize(_ connection: Connection) {}

    /// The end of the session: called once, after all others, on the thread that closes it.
    open func destroy() {}

    // MARK: Names and inodes

    /// LOOKUP: the inode of a name. Answer: `entry`.
    ///
    /// `.` and `..` arrive only with ``Capabilities/exportSupport``, if a file handle names an inode that the kernel
    /// has forgotten: ESTALE if there is no inode of that number.
    open func lookup(_ request: consuming Request, parent: InodeNumber, name: FileName) {
        request.error(.noSuchFileOrDirectory)
    }

    /// FORGET: the kernel returns `count` lookups of an inode. No answer.
    open func forget(_ inode: InodeNumber, count: UInt64) {}

    /// GETATTR: stat(2). Answer: `attributes`.
    open func getattr(_ request: consuming Request, inode: InodeNumber, file: OpenFile?) {
        request.error(.noFunction)
    }

    /// SETATTR: chmod(2), chown(2), truncate(2), utimensat(2). Answer: `attributes`, the new ones.
    open func setattr(_ request: consuming Request, inode: InodeNumber, changes: AttributeChanges, file: OpenFile?) {
        request.error(.noFunction)
    }

    /// READLINK. Answer: `link`.
    open func readlink(_ request: consuming Request, inode: InodeNumber) {
        request.error(.noFunction)
    }

    /// MKNOD: `mode` has type and permissions, the umask applied. Answer: `entry`.
    open func mknod(
        _ request: consuming Request, parent: InodeNumber, name: FileName, mode: UInt32, device: UInt64
    ) {
        request.error(.noFunction)
    }

    /// MKDIR: `mode` has the permissions, the umask applied. Answer: `entry`.
    open func mkdir(_ request: consuming Request, parent: InodeNumber, name: FileName, mode: UInt32) {
        request.error(.noFunction)
    }

    /// UNLINK. Answer: `ok`.
    open func unlink(_ request: consuming Request, parent: InodeNumber, name: FileName) {
        request.error(.noFunction)
    }

    /// RMDIR. Answer: `ok`.
    open func rmdir(_ request: consuming Request, parent: InodeNumber, name: FileName) {
        request.error(.noFunction)
    }

    /// SYMLINK: a link named `name` with the target `target`. Answer: `entry`.
    open func symlink(_ request: consuming Request, parent: InodeNumber, name: FileName, target: String) {
        request.error(.noFunction)
    }

    /// RENAME, RENAME2: `flags` of renameat2(2). Answer: `ok`.
    open func rename(
        _ request: consuming Request, parent: InodeNumber, name: FileName,
        newParent: InodeNumber, newName: FileName, flags: UInt32
    ) {
        request.error(.noFunction)
    }

    /// LINK: another name for an inode. Answer: `entry`.
    open func link(_ request: consuming Request, inode: InodeNumber, newParent: InodeNumber, newName: FileName) {
        request.error(.noFunction)
    }

    /// ACCESS: access(2) with `R_OK`, `W_OK`, `X_OK`; not sent under `default_permissions`. Answer: `ok`.
    open func access(_ request: consuming Request, inode: InodeNumber, mask: Int32) {
        request.error(.noFunction)
    }

    /// STATFS. Answer: `statistics`.
    open func statfs(_ request: consuming Request, inode: InodeNumber) {
        request.statistics(FileSystemStatistics())
    }

    // MARK: Files

    /// OPEN: `file.flags` as in open(2), without `O_CREAT` and `O_EXCL`. Answer: `opened`.
    open func open(_ request: consuming Request, inode: InodeNumber, file: OpenFile) {
        request.opened(OpenReply())
    }

    /// CREATE: make and open in one. Answer: `created`.
    open func create(
        _ request: consuming Request, parent: InodeNumber, name: FileName, mode: UInt32, file: OpenFile
    ) {
        request.error(.noFunction)
    }

    /// TMPFILE: `O_TMPFILE`, a file without a name in a directory. LINK can give it its first name. Answer: `created`.
    open func tmpfile(_ request: consuming Request, parent: InodeNumber, mode: UInt32, file: OpenFile) {
        request.error(.noFunction)
    }

    /// READ of at most `size` bytes. Answer: `data`, `vectors` or `end`.
    open func read(_ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile) {
        request.error(.noFunction)
    }

    /// WRITE; `data` is invalid after the method returns. Answer: `written`.
    open func write(_ request: consuming Request, inode: InodeNumber, data: RawSpan, offset: Int64, file: OpenFile) {
        request.error(.noFunction)
    }

    /// FLUSH: one of the descriptors was closed. Answer: `ok`.
    open func flush(_ request: consuming Request, inode: InodeNumber, file: OpenFile) {
        request.error(.noFunction)
    }

    /// RELEASE: the last descriptor and mapping of an open file are gone. Answer: `ok`; an error has no effect.
    open func release(_ request: consuming Request, inode: InodeNumber, file: OpenFile) {
        request.ok()
    }

    /// FSYNC; `dataOnly` for fdatasync(2). Answer: `ok`.
    open func fsync(_ request: consuming Request, inode: InodeNumber, dataOnly: Bool, file: OpenFile) {
        request.error(.noFunction)
    }

    /// FALLOCATE: `mode` of fallocate(2). Answer: `ok`.
    open func fallocate(
        _ request: consuming Request, inode: InodeNumber, mode: Int32, offset: Int64, length: Int64, file: OpenFile
    ) {
        request.error(.noFunction)
    }

    /// COPY_FILE_RANGE: both files are of this mount, and their ranges do not overlap. The kernel has written back the
    /// dirty pages of both. Afterwards it drops the target's pages in the range, also those at the ends: a store
    /// through a mapping to the rest of these pages is lost meanwhile. After EOPNOTSUPP the kernel copies through the
    /// page cache. Answer: `written`.
    open func copyFileRange(
        _ request: consuming Request, from source: FilePosition, to target: FilePosition, length: Int
    ) {
        request.error(.noFunction)
    }

    /// LSEEK with `SEEK_DATA` or `SEEK_HOLE`. Answer: `position`.
    open func lseek(_ request: consuming Request, inode: InodeNumber, offset: Int64, whence: Int32, file: OpenFile) {
        request.error(.noFunction)
    }

    /// POLL: the present events; with a handle, notify it when they change (the newest handle of a file is enough).
    /// Answer: `poll`.
    open func poll(
        _ request: consuming Request, inode: InodeNumber, events: PollEvents, handle: PollHandle?, file: OpenFile
    ) {
        request.error(.noFunction)
    }

    /// IOCTL; `input` is invalid after the method returns. Answer: `ioctl`.
    open func ioctl(
        _ request: consuming Request, inode: InodeNumber, command: IoctlCommand, input: RawSpan, file: OpenFile
    ) {
        request.error(.noFunction)
    }

    // MARK: Directories

    /// OPENDIR. Answer: `opened`.
    open func opendir(_ request: consuming Request, inode: InodeNumber, file: OpenFile) {
        request.opened(OpenReply())
    }

    /// READDIR from `offset` (0, or the `next` of an earlier name). Answer: `directory` or `end`.
    open func readdir(_ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile) {
        request.error(.noFunction)
    }

    /// READDIRPLUS: the same with the entry of each name; see `implementsReaddirplus`. Answer: `directory` or `end`.
    open func readdirplus(_ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile) {
        request.error(.noFunction)
    }

    /// RELEASEDIR. Answer: `ok`.
    open func releasedir(_ request: consuming Request, inode: InodeNumber, file: OpenFile) {
        request.ok()
    }

    /// FSYNCDIR. Answer: `ok`.
    open func fsyncdir(_ request: consuming Request, inode: InodeNumber, dataOnly: Bool, file: OpenFile) {
        request.error(.noFunction)
    }

    // MARK: Extended attributes

    /// SETXATTR: `flags` of setxattr(2); `value` is invalid after the method returns. Answer: `ok`.
    open func setxattr(_ request: consuming Request, inode: InodeNumber, name: String, value: RawSpan, flags: Int32) {
        request.error(.noFunction)
    }

    /// GETXATTR. Answer: `extendedAttribute`.
    open func getxattr(_ request: consuming Request, inode: InodeNumber, name: String, size: Int) {
        request.error(.noFunction)
    }

    /// LISTXATTR: the names, each with a NUL behind it. Answer: `extendedAttribute`.
    open func listxattr(_ request: consuming Request, inode: InodeNumber, size: Int) {
        request.error(.noFunction)
    }

    /// REMOVEXATTR. Answer: `ok`.
    open func removexattr(_ request: consuming Request, inode: InodeNumber, name: String) {
        request.error(.noFunction)
    }
}
