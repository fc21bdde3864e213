import SystemPackage

/// Bytes of a buffer.
public struct BufferRange: Sendable {
    /// The buffer.
    public let buffer: Buffer
    /// Where they are in it.
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

/// What a device can be told to do. A range that reaches behind the end of its buffer fails with EFAULT when its turn comes.
public enum DeviceCommand: Sendable {
    /// Stores a byte everywhere.
    case fill(BufferRange, UInt8)
    /// Copies bytes; the ranges are of the same length, and may overlap as for memmove(3).
    case copy(from: BufferRange, to: BufferRange)
    /// Computes the CRC-32 of zlib, gzip and Ethernet.
    case crc32(BufferRange)
    /// Reads every page, and keeps nothing.
    case read(BufferRange)
    /// Stores to every page what it holds already.
    case write(BufferRange)
    /// Takes every page for itself alone: no CPU and no other device maps it.
    case exclusive(BufferRange)
    /// Does nothing: when it is done, so is everything before it.
    case fence

    var ranges: [BufferRange] {
        switch self {
        case .fill(let range, _), .crc32(let range), .read(let range), .write(let range), .exclusive(let range): [range]
        case .copy(let source, let target): [source, target]
        case .fence: []
        }
    }
}
