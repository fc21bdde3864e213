import CoherentMemory

/// A mapping of a process (struct vm_area_struct), as far as it matters to the simulated machine.
struct MemoryArea: Sendable {
    /// What is mapped.
    enum Content: Sendable {
        /// A buffer or a device's memory, from an offset on.
        case buffer(Buffer, offset: UInt64)
        /// Memory of the host.
        case other
    }

    var addresses: Range<UInt64>
    var content: Content
    /// Whether another process is known to map it, too.
    var isMappedTwice = false
    /// What has its policies, at the same offsets, where pages of an elder are shared (MAP_HUGETLB); nil where the buffer has.
    var policies: Buffer?

    /// Whether it is a program's own memory, which has no file.
    var isOwn = false

    /// Whether it is memory of the machine.
    var isSimulated: Bool {
        switch content {
        case .buffer: true
        case .other: false
        }
    }

    /// The part of a buffer that lies at some addresses; nil for what is the host's.
    func part(at addresses: Range<UInt64>) -> BufferPart? {
        guard case .buffer(let buffer, let offset) = content else { return nil }
        let part = addresses.clamped(to: self.addresses)
        guard !part.isEmpty else { return nil }
        let (start, overflow) = offset.addingReportingOverflow(part.lowerBound - self.addresses.lowerBound)
        guard !overflow, start <= UInt64(Int64.max), UInt64(part.count) <= UInt64(Int64.max) - start else { return nil }
        return BufferPart(
            buffer: buffer, bytes: start..<start + UInt64(part.count), policies: policies ?? buffer)
    }

    /// What is left of it without some addresses.
    func subtracting(_ range: Range<UInt64>) -> [MemoryArea] {
        [0..<range.lowerBound, range.upperBound..<UInt64.max].compactMap { rest in
            let left = addresses.clamped(to: rest)
            guard !left.isEmpty else { return nil }
            guard let part = part(at: left) else { return MemoryArea(addresses: left, content: .other) }
            return MemoryArea(
                addresses: left, content: .buffer(part.buffer, offset: part.bytes.lowerBound),
                isMappedTwice: isMappedTwice, policies: policies, isOwn: isOwn)
        }
    }
}

/// Bytes of a buffer.
struct BufferPart: Sendable {
    var buffer: Buffer
    var bytes: Range<UInt64>
    /// What has the policies of these bytes.
    var policies: Buffer
}

extension [MemoryArea] {
    /// Whether every address of a range is mapped. The areas are ascending.
    func cover(_ range: Range<UInt64>) -> Bool {
        var position = range.lowerBound
        for area in self where area.addresses.upperBound > position {
            guard area.addresses.lowerBound <= position else { return false }
            position = area.addresses.upperBound
            if position >= range.upperBound { return true }
        }
        return position >= range.upperBound
    }

    /// Those that the next one follows without a hole, as far as all do from the beginning of a range on. The areas are ascending.
    func ahead(ofHolesIn range: Range<UInt64>) -> [MemoryArea] {
        guard let first, first.addresses.lowerBound <= range.lowerBound else { return [] }
        let joined = zip(self, dropFirst()).prefix { $0.addresses.upperBound == $1.addresses.lowerBound }
        return joined.map(\.0)
    }

    /// The parts of buffers at some addresses, ascending by address.
    func parts(at addresses: Range<UInt64>) -> [BufferPart] { compactMap { $0.part(at: addresses) } }

    /// The area of an address; nil for none (vma_lookup()). The areas are ascending.
    func area(at address: UInt64) -> MemoryArea? {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle].addresses.upperBound <= address { low = middle + 1 } else { high = middle }
        }
        return low < count && self[low].addresses.contains(address) ? self[low] : nil
    }
}
