import Glibc
import SystemPackage

/// The device number of a mount, which `/sys/class/bdi` and `/sys/fs/fuse/connections` use as its name.
public struct MountDevice: Hashable, Sendable, CustomStringConvertible {
    /// The major number; 0 for FUSE.
    public let major: Int
    /// The minor number, the name of the connection.
    public let minor: Int

    /// A device number from its two parts.
    public init(major: Int, minor: Int) {
        (self.major, self.minor) = (major, minor)
    }

    /// `MAJOR:MINOR`
    public var description: String { "\(major):\(minor)" }
}

/// What `/proc/self/mountinfo` tells. It is read where others would stat a path, for a stat of the own mount is a request to
/// oneself.
enum MountTable {
    /// The device that is mounted uppermost on a path without links; nil when it is no mount point.
    static func device(at path: FilePath) -> MountDevice? {
        guard let table = try? SystemFile.read("/proc/self/mountinfo") else { return nil }
        var found: MountDevice?
        for line in table.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 5)
            guard fields.count > 5, FilePath(String(decoding: unescape(fields[4]), as: UTF8.self)) == path else {
                continue
            }
            let numbers = String(decoding: fields[2], as: UTF8.self).split(separator: ":").compactMap { Int($0) }
            if numbers.count == 2 { found = MountDevice(major: numbers[0], minor: numbers[1]) }
        }
        return found
    }

    /// Blanks, tabs, newlines and backslashes stand as `\` and three octal digits.
    private static func unescape(_ field: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
            {
                result.append(value)
                rest = rest.dropFirst(3)
            } else {
                result.append(byte)
            }
        }
        return result
    }
}

/// Whole small files of /proc and /sys, with typed errors.
enum SystemFile {
    static func read(_ path: FilePath) throws(Errno) -> [UInt8] {
        do {
            let file = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
            return try file.closeAfter {
                var bytes: [UInt8] = []
                while true {
                    let chunk = unsafe try [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
                        count = unsafe try file.read(into: UnsafeMutableRawBufferPointer(buffer))
                    }
                    if chunk.isEmpty { return bytes }
                    bytes += chunk
                }
            }
        } catch {
            throw error as? Errno ?? .ioError
        }
    }

    static func write(_ path: FilePath, _ text: String) throws(Errno) {
        do {
            let file = try FileDescriptor.open(path, .writeOnly, options: .closeOnExec)
            _ = try file.closeAfter { try file.writeAll(text.utf8) }
        } catch {
            throw error as? Errno ?? .ioError
        }
    }
}

/// The errno of the C call that has just failed on this thread.
func lastError() -> Errno {
    Errno(rawValue: Glibc.errno)
}
