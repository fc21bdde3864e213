import Glibc

/// Files of /proc. Those that the fault path reads fit into a fixed buffer, and reading them does not wait.
public enum ProcFile {
    /// Calls `body` with the start of a file; nil if it does not exist, or the task has ended.
    ///
    /// - Parameters:
    ///   - path: the path of the file.
    ///   - capacity: the maximum number of bytes.
    ///   - body: gets the bytes; its result is the result.
    public static func read<Result>(
        _ path: String, capacity: Int = 1024, _ body: (Span<UInt8>) -> Result?
    ) -> Result? {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: capacity) { buffer in
            let count = unsafe Glibc.read(file, buffer.baseAddress, capacity)
            guard count > 0 else { return nil }
            return body(unsafe UnsafeBufferPointer(rebasing: buffer[..<count]).span)
        }
    }

    /// The decimal number after `name:` at the start of a line, as in status and fdinfo; nil if there is none.
    public static func number(_ name: StaticString, in bytes: borrowing Span<UInt8>) -> UInt64? {
        let length = name.utf8CodeUnitCount
        var start = 0
        while start + length < bytes.count {
            var place = start
            while place < start + length, unsafe bytes[place] == name.utf8Start[place - start] { place += 1 }
            if place == start + length, bytes[place] == UInt8(ascii: ":") {
                place += 1
                while place < bytes.count, isBlank(bytes[place]) { place += 1 }
                var value: UInt64?
                while place < bytes.count, let digit = digit(bytes[place]) {
                    value = (value ?? 0) &* 10 &+ digit
                    place += 1
                }
                return value
            }
            while start < bytes.count, bytes[start] != UInt8(ascii: "\n") { start += 1 }
            start += 1
        }
        return nil
    }

    /// The numbers of the processes in /proc, ascending; empty if there is no /proc.
    public static var processes: [Int32] { (DirectoryListing.numbers(in: "/proc") ?? []).sorted() }

    /// The name of a task (`comm`), at most 15 arbitrary bytes; nil if there is no such task.
    public static func name(of task: Int32) -> String? {
        read("/proc/\(task)/comm", capacity: 64) { bytes in
            String(decoding: (0..<bytes.count).map { bytes[$0] }.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        }
    }

    /// The target of a symbolic link, such as those of /proc/PID/ns and /proc/PID/fd: its first 256 bytes; nil if it
    /// may not be read.
    public static func link(_ path: String) -> String? {
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 256) { buffer in
            let count = unsafe buffer.withMemoryRebound(to: CChar.self) { buffer in
                unsafe readlink(path, buffer.baseAddress!, buffer.count)
            }
            guard count > 0 else { return nil }
            return unsafe String(decoding: buffer[..<count], as: UTF8.self)
        }
    }

    /// The inode of a namespace of a task, or of this process (namespaces(7)); nil if the task may not be inspected.
    ///
    /// - Parameters:
    ///   - kind: a name in /proc/PID/ns.
    ///   - task: the number of the task; nil for this process.
    public static func namespace(_ kind: String, of task: Int32? = nil) -> UInt64? {
        var status = stat()
        let path = "/proc/\(task.map(String.init) ?? "self")/ns/\(kind)"
        return unsafe stat(path, &status) == 0 ? UInt64(status.st_ino) : nil
    }

    /// The owner of /proc/PID: the effective user and group of the process; nil if there is no such process.
    public static func owner(of process: Int32) -> (user: UInt32, group: UInt32)? { owner("/proc/\(process)") }

    /// The owner of the files in /proc/PID: the same, or root if only root may look into the process (task_dump_owner()).
    public static func ownerOfFiles(of process: Int32) -> (user: UInt32, group: UInt32)? {
        owner("/proc/\(process)/mem")
    }

    private static func owner(_ path: String) -> (user: UInt32, group: UInt32)? {
        var status = stat()
        return unsafe stat(path, &status) == 0 ? (status.st_uid, status.st_gid) : nil
    }

    /// The value of a decimal digit; nil for another byte.
    @inlinable
    public static func digit(_ byte: UInt8) -> UInt64? {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) ? UInt64(byte - UInt8(ascii: "0")) : nil
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "\t") || byte == UInt8(ascii: " ") }
}
