import SystemPackage

/// A range of bytes of a buffer.
public struct BufferRange: Sendable {
    /// The buffer.
    public let buffer: Buffer
    /// The range within the buffer.
    public let bytes: Range<UInt64>

    /// - Throws: EINVAL for a range that ends behind 2⁶³ − 1.
    public init(_ buffer: Buffer, at offset: UInt64, length: UInt64) throws(Errno) {
        let (end, overflow) = offset.addingReportingOverflow(length)
        guard !overflow, end <= UInt64(Int64.max) else { throw .invalidArgument }
        self.buffer = buffer
        bytes = offset..<end
    }

    /// What is worked on under one hold of the buffer's lock, from `done` bytes on.
    func part(at done: UInt64) -> Range<UInt64> {
        let start = bytes.lowerBound + done
        let boundary = (start / Pieces.maximumBytes + 1) * Pieces.maximumBytes
        return start..<min(bytes.upperBound, boundary)
    }

    var pages: Range<UInt64> { bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound) }
}

/// A command of a device. A range that reaches behind the end of its buffer fails with EFAULT when the command runs.
public enum DeviceCommand: Sendable {
    /// Stores a byte to every place of the range.
    case fill(BufferRange, UInt8)
    /// Copies bytes; the ranges have the same length, and may overlap as in memmove(3).
    case copy(from: BufferRange, to: BufferRange)
    /// Computes the CRC-32 of zlib, gzip and Ethernet.
    case crc32(BufferRange)
    /// Reads every page and discards the bytes.
    case read(BufferRange)
    /// Stores the present contents to every page.
    case write(BufferRange)
    /// Maps every page exclusively: no CPU and no other device maps it.
    case exclusive(BufferRange)
    /// Does nothing. When it is done, all earlier commands are done.
    case fence

    var ranges: [BufferRange] {
        switch self {
        case .fill(let range, _), .crc32(let range), .read(let range), .write(let range), .exclusive(let range): [range]
        case .copy(let source, let target): [source, target]
        case .fence: []
        }
    }
}
