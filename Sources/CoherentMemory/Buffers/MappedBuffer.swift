/// A buffer, or a part of it, at some addresses of a program (struct vm_area_struct).
public struct MappedBuffer: Sendable {
    /// The addresses; whole pages.
    public var addresses: Range<UInt64>
    /// What is there.
    public var buffer: Buffer
    /// The offset in the buffer of the first address.
    public var offset: UInt64

    /// A mapping. The sum of `offset` and the length is to be no more than ``Machine/addressLimit``.
    public init(addresses: Range<UInt64>, buffer: Buffer, offset: UInt64) {
        self.addresses = addresses
        self.buffer = buffer
        self.offset = offset
    }

    /// The bytes of the buffer that are mapped.
    public var bytes: Range<UInt64> { offset..<offset + UInt64(addresses.count) }

    /// The part at some of the addresses; nil for none.
    public func clamped(to range: Range<UInt64>) -> MappedBuffer? {
        let part = addresses.clamped(to: range)
        guard !part.isEmpty else { return nil }
        return MappedBuffer(
            addresses: part, buffer: buffer, offset: offset + (part.lowerBound - addresses.lowerBound))
    }

    /// The addresses of bytes of the buffer, as far as these are mapped; nil for none.
    public func addresses(of bytes: Range<UInt64>) -> Range<UInt64>? {
        let part = bytes.clamped(to: self.bytes)
        guard !part.isEmpty else { return nil }
        let start = addresses.lowerBound + (part.lowerBound - offset)
        return start..<start + UInt64(part.count)
    }
}
