import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// The first bytes of a file, which tell what it is.
struct FileStart {
    private let bytes: [UInt8]

    /// Nil for a directory.
    init?(_ path: FilePath) throws(ImportError) {
        do throws(Errno) {
            // A named pipe without a writer would keep the open waiting.
            let file = unsafe open(path.string, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            guard file >= 0 else { throw Errno.last }
            defer { close(file) }
            var buffer = [UInt8](repeating: 0, count: 1024)
            let count = unsafe read(file, &buffer, buffer.count)
            guard count >= 0 else {
                if Errno.last == .isDirectory { return nil }
                throw Errno.last
            }
            bytes = Array(buffer[..<count])
        } catch {
            throw ImportError(.noInput, "\(path)", "\(error)")
        }
    }

    private func begins(_ start: [UInt8], at place: Int = 0) -> Bool {
        bytes.count >= place + start.count && bytes[place..<place + start.count].elementsEqual(start)
    }

    private var text: String { String(decoding: bytes, as: UTF8.self) }

    var isXML: Bool { ["<?xml", "<!DOCTYPE", "<topology"].contains { text.drop(while: \.isWhitespace).hasPrefix($0) } }

    /// gzip, bzip2, xz, zstd, or tar alone.
    var isArchive: Bool {
        begins([0x1f, 0x8b]) || begins(Array("BZh".utf8)) || begins([0xfd, 0x37, 0x7a, 0x58, 0x5a])
            || begins([0x28, 0xb5, 0x2f, 0xfd]) || begins(Array("ustar".utf8), at: 257)
    }

    var isNumactl: Bool { text.hasPrefix("available: ") }
}
