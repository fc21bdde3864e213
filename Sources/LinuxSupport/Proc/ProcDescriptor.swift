public import Glibc
public import SystemPackage

/// A descriptor of a file below /proc/PID. It refers to the address space that the process had at the open: not to that
/// of a later program, and not to a later process with the same number.
public struct ProcDescriptor: ~Copyable, Sendable {
    /// The descriptor.
    public let number: Int32

    /// Opens a file.
    ///
    /// - Parameters:
    ///   - path: the path of the file.
    ///   - flags: of open(2); the descriptor is closed on exec in any case.
    /// - Throws: EACCES or EPERM if the process may not be inspected, ESRCH if there is none.
    public init(_ path: String, flags: Int32 = O_RDONLY) throws(Errno) {
        do throws(Errno) {
            number = try SystemCall.retry { unsafe open(path, flags | O_CLOEXEC) }
        } catch {
            throw error == .noSuchFileOrDirectory ? .noSuchProcess : error
        }
    }

    /// Takes ownership of a descriptor, or throws if it is the negative result of a failed call.
    ///
    /// - Throws: the call's error.
    public init(adopting descriptor: Int32) throws(Errno) { number = try SystemCall.check(descriptor) }

    deinit { close(number) }

    /// Calls `body` with each line, without its end, until it returns false.
    ///
    /// - Throws: errors of read(2); EIO for a line of more than 64 KiB, which /proc does not have.
    public func forEachLine(_ body: (Span<UInt8>) -> Bool) throws(Errno) {
        let capacity = 65536
        // No line of /proc is longer than a path of 4096 bytes with each written as four.
        let buffer = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: capacity)
        defer { unsafe buffer.deallocate() }
        var (filled, position) = (0, 0)
        while true {
            let count = try SystemCall.retry {
                unsafe pread(number, buffer.baseAddress! + filled, capacity - filled, position)
            }
            position += count
            filled += count
            var start = 0
            while start < filled, let end = unsafe memchr(buffer.baseAddress! + start, 10, filled - start) {
                let next = unsafe UnsafeRawPointer(end) - UnsafeRawPointer(buffer.baseAddress!)
                guard body(unsafe UnsafeBufferPointer(rebasing: buffer[start..<next]).span) else { return }
                start = next + 1
            }
            if count == 0 { return }
            unsafe memmove(buffer.baseAddress!, buffer.baseAddress! + start, filled - start)
            filled -= start
            guard filled < capacity else { throw .ioError }
        }
    }
}
