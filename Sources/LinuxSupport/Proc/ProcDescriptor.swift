import Glibc
import SystemPackage

/// A descriptor of a file below /proc/PID, which stands for the address space that the process had when it was opened: not
/// for what it runs later, and not for who gets its number.
struct ProcDescriptor: ~Copyable, Sendable {
    let number: Int32

    /// - Throws: EACCES or EPERM where the process may not be looked into, ESRCH where there is none.
    init(_ path: String, flags: Int32 = O_RDONLY) throws(Errno) {
        let descriptor = unsafe open(path, flags | O_CLOEXEC)
        guard descriptor >= 0 else { throw errno == ENOENT ? .noSuchProcess : Errno(rawValue: errno) }
        number = descriptor
    }

    /// Takes over a descriptor, negative for a call that failed with `errno`.
    init(adopting descriptor: Int32) throws(Errno) {
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        number = descriptor
    }

    deinit { close(number) }

    /// Calls `body` with each line, without its end, until it returns false.
    func forEachLine(_ body: (UnsafeRawBufferPointer) -> Bool) throws(Errno) {
        let capacity = 65536
        // No line of /proc is longer than a path of 4096 bytes with each written as four.
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
        defer { unsafe buffer.deallocate() }
        var (filled, position) = (0, 0)
        while true {
            let count = unsafe pread(number, buffer.baseAddress! + filled, capacity - filled, position)
            guard count >= 0 else { throw Errno(rawValue: errno) }
            position += count
            filled += count
            var start = 0
            while start < filled, let end = unsafe memchr(buffer.baseAddress! + start, 10, filled - start) {
                let next = unsafe UnsafeRawPointer(end) - UnsafeRawPointer(buffer.baseAddress!)
                guard unsafe body(UnsafeRawBufferPointer(rebasing: buffer[start..<next])) else { return }
                start = next + 1
            }
            if count == 0 { return }
            unsafe memmove(buffer.baseAddress!, buffer.baseAddress! + start, filled - start)
            filled -= start
            guard filled < capacity else { throw .ioError }
        }
    }
}
