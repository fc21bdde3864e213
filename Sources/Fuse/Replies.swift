internal import CFuse3
import Glibc
import SystemPackage

extension Request {
    /// Answers with an error.
    @discardableResult
    public consuming func error(_ errno: Errno) -> Bool {
        unsafe fuse_reply_err(release(), errno.rawValue) == 0
    }

    /// Answers with success and no data: UNLINK, RENAME, FLUSH, RELEASE, FSYNC, ACCESS, ….
    @discardableResult
    public consuming func ok() -> Bool {
        unsafe fuse_reply_err(release(), 0) == 0
    }

    /// Answers LOOKUP, MKNOD, MKDIR, SYMLINK and LINK. If it returns false, no FORGET arrives for this lookup.
    @discardableResult
    public consuming func entry(_ entry: Entry) -> Bool {
        var parameters = entry.parameters
        return unsafe fuse_reply_entry(release(), &parameters) == 0
    }

    /// Answers CREATE. If it returns false, neither FORGET nor RELEASE arrives.
    @discardableResult
    public consuming func created(_ entry: Entry, _ reply: OpenReply) -> Bool {
        var parameters = entry.parameters
        var info = reply.info
        if let backing = reply.backing {
            return unsafe cfuse3_reply_create_backed(release(), &parameters, &info, backing.rawValue) == 0
        }
        return unsafe fuse_reply_create(release(), &parameters, &info) == 0
    }

    /// Answers GETATTR and SETATTR; the kernel may cache the attributes for `timeout` seconds.
    @discardableResult
    public consuming func attributes(_ attributes: FileAttributes, timeout: Double = 0) -> Bool {
        var stat = attributes.stat
        return unsafe fuse_reply_attr(release(), &stat, timeout) == 0
    }

    /// Answers OPEN and OPENDIR. If it returns false, no RELEASE arrives.
    @discardableResult
    public consuming func opened(_ reply: OpenReply) -> Bool {
        var info = reply.info
        if let backing = reply.backing {
            return unsafe cfuse3_reply_open_backed(release(), &info, backing.rawValue) == 0
        }
        return unsafe fuse_reply_open(release(), &info) == 0
    }

    /// Answers WRITE with the number of bytes that were written.
    @discardableResult
    public consuming func written(_ count: Int) -> Bool {
        unsafe fuse_reply_write(release(), count) == 0
    }

    /// Answers READ (and GETXATTR, LISTXATTR) with bytes that are not copied on the way to the kernel. Fewer bytes than
    /// requested mean the end of the file.
    @discardableResult
    public consuming func data(_ bytes: RawSpan) -> Bool {
        let request = unsafe release()
        return unsafe bytes.withUnsafeBytes { bytes in
            unsafe fuse_reply_buf(request, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count) == 0
        }
    }

    /// Answers READ with memory of several pieces, at most 1023, which the kernel reads in place.
    @unsafe
    @discardableResult
    public consuming func vectors(_ vectors: UnsafeBufferPointer<iovec>) -> Bool {
        let request = unsafe release()
        // libfuse allocates a vector of its own for more than one piece.
        if vectors.count == 1, let base = unsafe vectors[0].iov_base {
            return unsafe fuse_reply_buf(request, base.assumingMemoryBound(to: CChar.self), vectors[0].iov_len) == 0
        }
        return unsafe fuse_reply_iov(request, vectors.baseAddress, Int32(vectors.count)) == 0
    }

    /// Answers READ with no bytes: the end of the file or directory.
    @discardableResult
    public consuming func end() -> Bool {
        unsafe fuse_reply_buf(release(), nil, 0) == 0
    }

    /// Answers READLINK.
    @discardableResult
    public consuming func link(_ target: String) -> Bool {
        unsafe fuse_reply_readlink(release(), target) == 0
    }

    /// Answers READDIR and READDIRPLUS. If it returns false, no FORGET arrives for the lookups of READDIRPLUS.
    @discardableResult
    public consuming func directory(_ buffer: borrowing DirectoryBuffer) -> Bool {
        let bytes = unsafe buffer.bytes
        return unsafe fuse_reply_buf(release(), bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
            == 0
    }

    /// Answers STATFS.
    @discardableResult
    public consuming func statistics(_ statistics: FileSystemStatistics) -> Bool {
        var statvfs = statistics.statvfs
        return unsafe fuse_reply_statfs(release(), &statvfs) == 0
    }

    /// Answers LSEEK with the offset of the data or hole, bytes.
    @discardableResult
    public consuming func position(_ offset: Int64) -> Bool {
        unsafe fuse_reply_lseek(release(), Int(offset)) == 0
    }

    /// Answers POLL with the present events.
    @discardableResult
    public consuming func poll(_ events: PollEvents) -> Bool {
        unsafe fuse_reply_poll(release(), events.rawValue) == 0
    }

    /// Answers GETXATTR and LISTXATTR as in getxattr(2): a `size` of 0 requests the length, one that is too small is
    /// `ERANGE`.
    @discardableResult
    public consuming func extendedAttribute(_ value: RawSpan, size: Int) -> Bool {
        if size == 0 {
            return unsafe fuse_reply_xattr(release(), value.byteCount) == 0
        }
        if value.byteCount > size { return error(.outOfRange) }
        return data(value)
    }

    /// Answers IOCTL with the result of ioctl(2) (not negative), and the bytes for the caller's argument.
    @discardableResult
    public consuming func ioctl(_ result: Int32, _ output: RawSpan) -> Bool {
        let request = unsafe release()
        return unsafe output.withUnsafeBytes { bytes in
            unsafe fuse_reply_ioctl(request, result, bytes.baseAddress, bytes.count) == 0
        }
    }

    /// Answers IOCTL without output, with the result of ioctl(2), not negative.
    @discardableResult
    public consuming func ioctl(_ result: Int32) -> Bool {
        unsafe fuse_reply_ioctl(release(), result, nil, 0) == 0
    }
}
