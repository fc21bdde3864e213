import Glibc
import LinuxSupport
import SystemPackage

/// The map of which buffer is wanted.
package struct MapRequest: Hashable, Sendable {
    /// The number of the buffer.
    package let buffer: UInt64
    /// Its name in sys/kernel/cdm/bufferinfo.
    package let name: String
    /// The bytes.
    package let range: Range<UInt64>

    /// Of a range of a buffer.
    package init(buffer: UInt64, name: String, range: Range<UInt64>) {
        (self.buffer, self.name, self.range) = (buffer, name, range)
    }
}

/// Reads the `pages` of a buffer, a part at each sample: the file has a line for each run of pages, and of a large buffer millions.
struct MapSweep: ~Copyable {
    let request: MapRequest
    private let path: FilePath
    private var file: FileDescriptor?
    private var map: BufferMap
    private var rest: [UInt8] = []
    /// The last whole one.
    private var whole: BufferMap?
    private var buffer = [UInt8](repeating: 0, count: 1 << 16)

    init(_ request: MapRequest, of mount: FilePath) {
        self.request = request
        let device = "/dev/"
        path =
            request.name.hasPrefix(device)
            ? mount.appending("sys/class/cdm").appending(String(request.name.dropFirst(device.count))).appending(
                "buffer/pages")
            : mount.appending("sys/kernel/cdm/buffers").appending(request.name).appending("pages")
        map = BufferMap(request.range)
    }

    deinit { if let file { close(file.rawValue) } }

    /// What is known: the last whole map, or before there is one what has been read so far.
    var result: Snapshot.Map {
        Snapshot.Map(buffer: request.buffer, map: whole ?? map, isWhole: whole != nil)
    }

    /// Reads on for some nanoseconds, but one part at least; up to the end of the range at most.
    ///
    /// - Throws: errors of open(2) and read(2).
    mutating func advance(for nanoseconds: UInt64) throws(Errno) {
        let end = LocalClock.nanoseconds &+ nanoseconds
        if file == nil {
            let descriptor = try SystemCall.retry { [path] in unsafe open(path.string, O_RDONLY | O_CLOEXEC) }
            file = FileDescriptor(rawValue: descriptor)
            map = BufferMap(request.range)
            rest = []
        }
        guard let file else { return }
        repeat {
            let count = try SystemCall.retry { unsafe Glibc.read(file.rawValue, &buffer, buffer.count) }
            guard count > 0, addLines(count) else {
                whole = map
                close(file.rawValue)
                self.file = nil
                return
            }
        } while LocalClock.nanoseconds < end
    }

    /// Takes the lines of what was read; false behind the range.
    private mutating func addLines(_ count: Int) -> Bool {
        rest += buffer[..<count]
        guard let last = rest.lastIndex(of: UInt8(ascii: "\n")) else { return true }
        let text = String(decoding: rest[...last], as: UTF8.self)
        rest.removeFirst(last + 1)
        for line in text.split(separator: "\n") {
            guard map.add(line: line) else { return false }
        }
        return true
    }
}
