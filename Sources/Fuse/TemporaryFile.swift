/// FUSE_TMPFILE (Linux 6.1), which libfuse up to 3.16 does not know, as a CREATE of a name that no file can have.
///
/// Both operations have the same structure. The kernel names the file `/` (vfs_tmpfile() in fs/namei.c).
enum TemporaryFile {
    /// The name in the request.
    static let name: FileName = "/"

    private static let operation: UInt32 = 51
    private static let create: UInt32 = 35

    /// Makes a request for a temporary file a CREATE, before libfuse sees it.
    static func translate(_ message: UnsafeMutableRawBufferPointer) {
        // struct fuse_in_header: the length, then the operation.
        guard message.count >= 40, unsafe message.load(fromByteOffset: 4, as: UInt32.self) == operation else { return }
        unsafe message.storeBytes(of: create, toByteOffset: 4, as: UInt32.self)
    }
}
