internal import CFuse3
import Glibc
import SystemPackage

extension Request {
    /// Answers with an error.
    @discardableResult
    public consuming func error(_ errno: Errno) -> Bool {
        unsafe fuse_reply_err(release(), errno.rawValue) == 0
    }

    /// Answers that it is done, where there is nothing else to say: UNLINK, RENAME, FLUSH, RELEASE, FSYNC, ACCESS, ….
    @discardableResult
    public consuming func ok() -> Bool {
        unsafe fuse_reply_err(release(), 0) == 0
    }

    /// Answers LOOKUP, MKNOD, MKDIR, SYMLINK and LINK; false: no FORGET will come for this lookup.
    @discardableResult
    public consuming func entry(_ entry: Entry) -> Bool {
        var parameters = entry.parameters
        return unsafe fuse_reply_entry(release(), &parameters) == 0
    }

    /// Answers CREATE; false: neither FORGET nor RELEASE will come.
    @discardableResult
    public consuming func created(_ entry: Entry, _ reply: OpenReply) -> Bool {
        var parameters = entry.parameters
        var info = reply.info
        if let backing = reply.backing {
            return unsafe cfuse3_reply_create_backed(release(), &parameters, &info, backing.rawValue) == 0
        }
        return unsafe fuse_reply_create(release(), &parameters, &info) == 0
    }

    /// Answers GETATTR and SETATTR; the kernel may trust the attributes for `timeout` seconds.
    @discardableResult
    public consuming func attributes(_ attributes: FileAttributes, timeout: Double = 0) -> Bool {
        var stat = attributes.stat
        return unsafe fuse_reply_attr(release(), &stat, timeout) == 0
    }

    /// Answers OPEN and OPENDIR; false: no RELEASE will come.
    @discardableResult
    public consuming func opened(_ reply: OpenReply) -> Bool {
        var info = reply.info
        if let backing = reply.backing {
            return unsafe cfuse3_reply_open_backed(release(), &info, backing.rawValue) == 0
        }
        return unsafe fuse_reply_open(release(), &info) == 0
    }

    /// Answers WRITE: how many bytes were taken.
    @discardableResult
    public consuming func written(_ count: Int) -> Bool {
        unsafe fuse_reply_write(release(), count) == 0
    }

    /// Answers READ (and GETXATTR, LISTXATTR) with bytes that nobody copies on the way to the kernel; fewer than
    /// were asked for mean the end of the file.
    @discardableResult
    public consuming func data(_ bytes: RawSpan) -> Bool {
        let request = unsafe release()
        return unsafe bytes.withUnsafeBytes { bytes in
            unsafe fuse_reply_buf(request, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count) == 0
        }
    }

    /// Answers READ with memory that is not one span: at most 1023 pieces, read by the kernel straight from where they are.
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

    /// Answers READ with no byte: the end of the file, or of the directory.
    @discardableResult
    public consuming func end() -> Bool {
        unsafe fuse_reply_buf(release(), nil, 0) == 0
    }

    /// Answers READLINK.
    @discardableResult
    public consuming func link(_ target: String) -> Bool {
        unsafe fuse_reply_readlink(release(), target) == 0
    }

    /// Answers READDIR and READDIRPLUS; false: no FORGET will come for what READDIRPLUS counted.
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

    /// Answers LSEEK: where the data or the hole begins, bytes.
    @discardableResult
    public consuming func position(_ offset: Int64) -> Bool {
        unsafe fuse_reply_lseek(release(), Int(offset)) == 0
    }

    /// Answers POLL: what is so already.
    @discardableResult
    public consuming func poll(_ events: PollEvents) -> Bool {
        unsafe fuse_reply_poll(release(), events.rawValue) == 0
    }

    /// Answers GETXATTR and LISTXATTR as getxattr(2) has it: a `size` of 0 asks for the length, one too small is `ERANGE`.
    @discardableResult
    public consuming func extendedAttribute(_ value: RawSpan, size: Int) -> Bool {
        if size == 0 {
            return unsafe fuse_reply_xattr(release(), value.byteCount) == 0
        }
        if value.byteCount > size { return error(.outOfRange) }
        return data(value)
    }

    /// Answers IOCTL: what ioctl(2) returns (not negative), and the bytes for the caller's argument.
    @discardableResult
    public consuming func ioctl(_ result: Int32, _ output: RawSpan) -> Bool {
        let request = unsafe release()
        return unsafe output.withUnsafeBytes { bytes in
            unsafe fuse_reply_ioctl(request, result, bytes.baseAddress, bytes.count) == 0
        }
    }

    /// Answers IOCTL without output: what ioctl(2) returns, not negative.
    @discardableResult
    public consuming func ioctl(_ result: Int32) -> Bool {
        unsafe fuse_reply_ioctl(release(), result, nil, 0) == 0
    }
}
