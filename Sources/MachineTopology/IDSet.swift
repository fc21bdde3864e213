public import BitCollections

/// A set of small non-negative ids: of nodes (below ``maxNodes``) or of CPUs (below ``maxCPUs``).
///
/// The counterpart of Linux's `nodemask_t` and `cpumask_t`. Iterates in ascending order. Inlinable: the machine uses
/// sets on its hot paths, and another module cannot specialize code that it does not see.
public struct IDSet: Sendable, Hashable {
    /// The maximum number of nodes of a machine: node ids are `0 ..< maxNodes` (Linux's `MAX_NUMNODES` at its largest).
    public static let maxNodes = 1024

    /// The maximum number of CPUs of a machine: CPU ids are `0 ..< maxCPUs` (Linux's `NR_CPUS` on x86 at its largest).
    public static let maxCPUs = 8192

    @usableFromInline var bits: BitSet

    @inlinable init(bits: BitSet) { self.bits = bits }

    /// The ids of a range, which must not be negative.
    @inlinable public init(_ range: Range<Int>) { bits = BitSet(range) }

    /// The number of ids in the set.
    @inlinable public var count: Int { bits.count }

    /// The smallest id, `nil` in an empty set.
    @inlinable public func min() -> Int? { bits.min() }

    /// The largest id, `nil` in an empty set.
    @inlinable public func max() -> Int? { bits.max() }
}

extension IDSet: SetAlgebra {
    /// The empty set.
    @inlinable public init() { bits = BitSet() }

    /// Whether the set has no ids.
    @inlinable public var isEmpty: Bool { bits.isEmpty }

    /// Whether the set has the id `member`; false for a negative one.
    @inlinable public func contains(_ member: Int) -> Bool { bits.contains(member) }

    /// Adds an id, which must not be negative.
    @discardableResult
    @inlinable public mutating func insert(_ newMember: Int) -> (inserted: Bool, memberAfterInsert: Int) {
        bits.insert(newMember)
    }

    /// Adds an id, which must not be negative; the id that was there, or `nil`.
    @discardableResult
    @inlinable public mutating func update(with newMember: Int) -> Int? { bits.update(with: newMember) }

    /// Removes an id; the id that was there, or `nil`.
    @discardableResult
    @inlinable public mutating func remove(_ member: Int) -> Int? { bits.remove(member) }

    /// The ids that are in either set.
    @inlinable public func union(_ other: IDSet) -> IDSet { IDSet(bits: bits.union(other.bits)) }

    /// The ids that are in both sets.
    @inlinable public func intersection(_ other: IDSet) -> IDSet { IDSet(bits: bits.intersection(other.bits)) }

    /// The ids that are in one of the sets only.
    @inlinable public func symmetricDifference(_ other: IDSet) -> IDSet {
        IDSet(bits: bits.symmetricDifference(other.bits))
    }

    /// Adds the ids of another set.
    @inlinable public mutating func formUnion(_ other: IDSet) { bits.formUnion(other.bits) }

    /// Keeps only the ids that another set has, too.
    @inlinable public mutating func formIntersection(_ other: IDSet) { bits.formIntersection(other.bits) }

    /// Keeps the ids that are in one of the sets only.
    @inlinable public mutating func formSymmetricDifference(_ other: IDSet) { bits.formSymmetricDifference(other.bits) }
}

extension IDSet: Sequence {
    /// Visits the ids of a set in ascending order.
    public struct Iterator: IteratorProtocol, Sendable {
        @usableFromInline var base: BitSet.Iterator

        @inlinable init(base: BitSet.Iterator) { self.base = base }

        /// The next larger id, `nil` after the last.
        @inlinable public mutating func next() -> Int? { base.next() }
    }

    /// An iterator over the ids in ascending order.
    @inlinable public func makeIterator() -> Iterator { Iterator(base: bits.makeIterator()) }

    /// The number of ids.
    @inlinable public var underestimatedCount: Int { bits.count }
}
