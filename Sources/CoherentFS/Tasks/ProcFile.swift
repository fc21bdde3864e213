import Glibc
import SystemPackage

/// Files of /proc. Those that the fault path asks for fit into a fixed buffer, and reading them waits for nobody.
enum ProcFile {
    /// Calls `body` with the start of a file; nil where there is none, or the task has gone.
    static func read<Result>(_ path: String, capacity: Int = 1024, _ body: (Span<UInt8>) -> Result?) -> Result? {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: capacity) { buffer in
            let count = unsafe Glibc.read(file, buffer.baseAddress, capacity)
            guard count > 0 else { return nil }
            return body(unsafe UnsafeBufferPointer(rebasing: buffer[..<count]).span)
        }
    }

    /// A whole file.
    static func contents(_ path: String) throws(Errno) -> [UInt8] {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw Errno(rawValue: errno) }
        defer { close(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 8192)
        while true {
            let count = unsafe Glibc.read(file, &chunk, chunk.count)
            guard count >= 0 else { throw Errno(rawValue: errno) }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
        }
    }

    /// The decimal number behind `name:` at the start of a line, as in status and fdinfo.
    static func number(_ name: StaticString, in bytes: borrowing Span<UInt8>) -> UInt64? {
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

    /// What stands behind `name:` in a whole file of such lines; nil where it does not.
    static func line(_ name: StaticString, in bytes: [UInt8]) -> ArraySlice<UInt8>? {
        let start = Array("\(name):".utf8)
        return bytes.split(separator: UInt8(ascii: "\n")).first { $0.starts(with: start) }?.dropFirst(start.count)
    }

    /// The numbers among the names in a directory; nil where it cannot be read.
    static func numbers(in folder: String) -> [Int32]? {
        guard let directory = unsafe opendir(folder) else { return nil }
        defer { unsafe closedir(directory) }
        var numbers: [Int32] = []
        while let entry = unsafe readdir(directory) {
            var value: Int32? = nil
            unsafe withUnsafeBytes(of: &entry.pointee.d_name) { name in
                for index in 0..<name.count {
                    let byte = unsafe name[index]
                    if byte == 0 { return }
                    guard let digit = digit(byte) else {
                        value = nil
                        return
                    }
                    value = (value ?? 0) &* 10 &+ Int32(digit)
                }
            }
            if let value { numbers.append(value) }
        }
        return numbers
    }

    /// The inode that stands for a namespace of a task, or of this process (namespaces(7)); nil where the task does not let itself
    /// be looked into.
    ///
    /// - Parameter kind: as in /proc/PID/ns.
    static func namespace(_ kind: String, of task: Int32? = nil) -> UInt64? {
        var status = stat()
        let path = "/proc/\(task.map(String.init) ?? "self")/ns/\(kind)"
        return unsafe stat(path, &status) == 0 ? UInt64(status.st_ino) : nil
    }

    static func digit(_ byte: UInt8) -> UInt64? {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) ? UInt64(byte - UInt8(ascii: "0")) : nil
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "\t") || byte == UInt8(ascii: " ") }
}

/// What /proc/TID/stat tells of a thread or process (proc(5)).
struct ProcStat {
    var state: UInt8 = 0
    var parent: Int32 = 0
    var group: Int32 = 0
    var session: Int32 = 0
    var threads = 0
    /// A thread of the kernel, which has no memory of its own (PF_KTHREAD).
    var isKernelThread = false
    /// Ticks after boot.
    var startTime: UInt64 = 0
    var processor = 0

    init?(task: Int32) {
        guard let stat = ProcFile.read("/proc/\(task)/stat", { ProcStat($0) }) else { return nil }
        self = stat
    }

    private init?(_ bytes: borrowing Span<UInt8>) {
        // The name in parentheses may hold anything; the fields are counted from behind it.
        var end = bytes.count - 1
        while end >= 0, bytes[end] != UInt8(ascii: ")") { end -= 1 }
        guard end >= 0, end + 3 < bytes.count else { return nil }
        state = bytes[end + 2]
        var field = 3
        var value: UInt64 = 0
        for place in end + 3..<bytes.count {
            if let digit = ProcFile.digit(bytes[place]) {
                value = value &* 10 &+ digit
            } else if bytes[place] == UInt8(ascii: " ") || bytes[place] == UInt8(ascii: "\n") {
                switch field {
                case 4: parent = Int32(truncatingIfNeeded: value)
                case 5: group = Int32(truncatingIfNeeded: value)
                case 6: session = Int32(truncatingIfNeeded: value)
                case 9: isKernelThread = value & 0x20_0000 != 0
                case 20: threads = Int(truncatingIfNeeded: value)
                case 22: startTime = value
                case 39: processor = Int(truncatingIfNeeded: value)
                default: break
                }
                field += 1
                value = 0
            }
        }
        guard field > 39 else { return nil }
    }

    /// Whether only the exit status is left. A process whose first thread has ended while others go on is none.
    var isGone: Bool { (state == UInt8(ascii: "Z") || state == UInt8(ascii: "X")) && threads <= 1 }
}
