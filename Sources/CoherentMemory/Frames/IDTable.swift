import LinuxSupport

/// Elements under numbers that count up and are never reused (idr_alloc_cyclic(), lib/idr.c).
///
/// A hash table of a million elements blocks all users while it grows, and takes three times their size. Here no step
/// takes longer because there are many elements, a slot has the size of its element, and elements are visited in the
/// order of their numbers while others come and go.
///
/// Inlinable and public as `TracedMutex` is.
public struct IDTable<Element> {
    @usableFromInline
    struct Chunk {
        /// As long as the last element needs that there was; none while the chunk is empty.
        @usableFromInline var slots: [Element?] = []
        @usableFromInline var count = 0

        @inlinable
        init() {}
    }

    @inlinable static var shift: UInt64 { 8 }
    @inlinable static var mask: UInt64 { 1 << shift - 1 }

    @usableFromInline var chunks: [Chunk] = []
    /// All chunks before it are empty.
    @usableFromInline var first = 0
    @usableFromInline var total = 0

    /// How many elements there are.
    @inlinable public var count: Int { total }

    /// An empty table.
    @inlinable
    public init() {}

    /// The element under a number; nil if there is none.
    public subscript(id: UInt64) -> Element? {
        @inlinable
        get {
            let (chunk, slot) = (Int(id >> Self.shift), Int(id & Self.mask))
            guard chunk < chunks.count, slot < chunks[chunk].slots.count else { return nil }
            return chunks[chunk].slots[slot]
        }
        @inlinable
        set {
            if let newValue { insert(newValue, at: id) } else { remove(id) }
        }
    }

    @inlinable
    mutating func insert(_ element: Element, at id: UInt64) {
        let (chunk, slot) = (Int(id >> Self.shift), Int(id & Self.mask))
        while chunks.count <= chunk { chunks.append(Chunk()) }
        while chunks[chunk].slots.count <= slot { chunks[chunk].slots.append(nil) }
        if chunks[chunk].slots[slot] == nil {
            chunks[chunk].count += 1
            total += 1
            first = min(first, chunk)
        }
        chunks[chunk].slots[slot] = element
    }

    /// Removes and returns an element; nil if there is none.
    @discardableResult @inlinable
    public mutating func remove(_ id: UInt64) -> Element? {
        guard let old = self[id] else { return nil }
        let chunk = Int(id >> Self.shift)
        chunks[chunk].slots[Int(id & Self.mask)] = nil
        chunks[chunk].count -= 1
        total -= 1
        if chunks[chunk].count == 0 { chunks[chunk] = Chunk() }
        while first < chunks.count, chunks[first].count == 0 { first += 1 }
        return old
    }

    /// The first element under a number or a higher one.
    @inlinable
    public func next(from id: UInt64) -> (id: UInt64, element: Element)? {
        var chunk = Int(id >> Self.shift)
        var slot = Int(id & Self.mask)
        if chunk < first { (chunk, slot) = (first, 0) }
        while chunk < chunks.count {
            while slot < chunks[chunk].slots.count {
                if let element = chunks[chunk].slots[slot] {
                    return (UInt64(chunk) << Self.shift | UInt64(slot), element)
                }
                slot += 1
            }
            chunk += 1
            slot = 0
        }
        return nil
    }

    /// All elements in the order of their numbers.
    @inlinable
    public var elements: [Element] {
        var result: [Element] = []
        result.reserveCapacity(count)
        for chunk in chunks[first...] where chunk.count > 0 {
            for case let element? in chunk.slots { result.append(element) }
        }
        return result
    }
}
