import CLinux
import Foundation
import SystemPackage

/// A reader of the mount's events that waits only where it is told to.
final class UeventReader {
    typealias Event = [String: String]

    let descriptor: FileDescriptor
    private var unread = ""

    init(_ mount: TestMount) throws {
        descriptor = try FileDescriptor.open(
            FilePath(mount.path + "/sys/kernel/cdm/uevents"), .readOnly, options: .nonBlocking)
    }

    deinit { try? descriptor.close() }

    /// One read(2); nil where there is nothing.
    func read(_ size: Int = 65536) throws -> String? {
        do {
            let bytes = try unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
                count = try unsafe descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))
            }
            return String(decoding: bytes, as: UTF8.self)
        } catch Errno.resourceTemporarilyUnavailable {
            return nil
        }
    }

    /// Every event there is.
    func events() throws -> [Event] {
        while let text = try read() { unread += text }
        guard unread.isEmpty || unread.hasSuffix("\n\n") else { throw Failure("half an event: \(unread)") }
        defer { unread = "" }
        return try unread.split(separator: "\n\n").map { event in
            try event.split(separator: "\n").reduce(into: [:]) { fields, line in
                let pair = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
                guard pair.count == 2, fields.updateValue(pair[1], forKey: pair[0]) == nil else {
                    throw Failure("no field: \(line)")
                }
            }
        }
    }

    /// poll(2) for POLLIN.
    func isReadable(within milliseconds: Int32) -> Bool {
        var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, milliseconds) == 1 && entry.revents & Int16(POLLIN) != 0
    }
}

extension UeventReader.Event {
    /// `ACTION@DEVPATH`, as udevadm(8) prints an event.
    var summary: String { "\(self["ACTION"] ?? "")@\(self["DEVPATH"] ?? "")" }

    var sequence: Int? { self["SEQNUM"].flatMap { Int($0) } }
}
