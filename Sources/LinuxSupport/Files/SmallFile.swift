import Glibc
public import SystemPackage

/// Whole files of /proc and /sys, and others that are short.
public enum SmallFile {
    /// The first `limit` bytes of a file, or all.
    ///
    /// - Throws: errors of open(2) and read(2).
    public static func read(_ path: FilePath, limit: Int = .max) throws(Errno) -> [UInt8] {
        let file = try open(path, O_RDONLY)
        defer { close(file.rawValue) }
        return try read(file, limit: limit)
    }

    /// The first `limit` bytes from a file, or all up to its end.
    ///
    /// - Throws: errors of read(2).
    public static func read(_ file: FileDescriptor, limit: Int = .max) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        // Most files of /proc fit into a page; what does not is read in larger parts.
        var chunk = [UInt8](repeating: 0, count: min(limit, 4096))
        while bytes.count < limit {
            let count = try SystemCall.retry {
                unsafe Glibc.read(file.rawValue, &chunk, min(chunk.count, limit - bytes.count))
            }
            if count == 0 { break }
            bytes += chunk[..<count]
            if count == chunk.count, count < 65536 { chunk = [UInt8](repeating: 0, count: 65536) }
        }
        return bytes
    }

    /// A whole file as text.
    ///
    /// - Throws: errors of open(2) and read(2).
    public static func text(_ path: FilePath) throws(Errno) -> String {
        String(decoding: try read(path), as: UTF8.self)
    }

    /// The contents of a file up to its end, as text.
    ///
    /// - Throws: errors of read(2).
    public static func text(_ file: FileDescriptor) throws(Errno) -> String {
        String(decoding: try read(file), as: UTF8.self)
    }

    /// Writes to an existing file, in one write(2) if the kernel accepts all bytes at once.
    ///
    /// - Throws: errors of open(2) and write(2); ENOSPC if a write accepts no byte.
    public static func write(_ text: String, to path: FilePath) throws(Errno) {
        let file = try open(path, O_WRONLY)
        defer { close(file.rawValue) }
        let bytes = Array(text.utf8)
        let count = try unsafe bytes.span.withUnsafeBytes { bytes throws(Errno) in
            try SystemCall.transfer(bytes.count) { done in
                unsafe Glibc.write(file.rawValue, bytes.baseAddress! + done, bytes.count - done)
            }
        }
        guard count == bytes.count else { throw .noSpace }
    }

    private static func open(_ path: FilePath, _ flags: Int32) throws(Errno) -> FileDescriptor {
        let descriptor = try SystemCall.retry {
            unsafe path.withPlatformString { unsafe Glibc.open($0, flags | O_CLOEXEC) }
        }
        return FileDescriptor(rawValue: descriptor)
    }
}
