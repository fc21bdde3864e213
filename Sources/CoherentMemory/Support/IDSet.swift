import BitCollections

/// A set of small non-negative ids: of nodes (below ``maxNodes``) or of CPUs (below ``maxCPUs``).
///
/// The counterpart of Linux's `nodemask_t` and `cpumask_t`. Iterates in ascending order.
public struct IDSet: Sendable, Hashable {
    /// How many nodes a machine may have: node ids are `0 ..< maxNodes` (Linux's `MAX_NUMNODES` at its largest).
    public static let maxNodes = 1024

    /// How many CPUs a machine may have: CPU ids are `0 ..< maxCPUs` (Linux's `NR_CPUS` on x86 at its largest).
    public static let maxCPUs = 8192

    var bits: BitSet

    init(bits: BitSet) { self.bits = bits }

    /// The ids of a range, which must not be negative.
    public init(_ range: Range<Int>) { bits = BitSet(range) }

    /// The number of ids in the set.
    public var count: Int { bits.count }

    /// The smallest id, `nil` in an empty set.
    public func min() -> Int? { bits.min() }

    /// The largest id, `nil` in an empty set.
    public func max() -> Int? { bits.max() }
}

extension IDSet: SetAlgebra {
    /// The empty set.
    public init() { bits = BitSet() }

    /// Whether the set has no ids.
    public var isEmpty: Bool { bits.isEmpty }

    /// Whether the set has the id `member`; false for a negative one.
    public func contains(_ member: Int) -> Bool { bits.contains(member) }

    /// Adds an id, which must not be negative.
    @discardableResult
    public mutating func insert(_ newMember: Int) -> (inserted: Bool, memberAfterInsert: Int) { bits.insert(newMember) }

    /// Adds an id, which must not be negative; the id that was there, or `nil`.
    @discardableResult
    public mutating func update(with newMember: Int) -> Int? { bits.update(with: newMember) }

    /// Removes an id; the id that was there, or `nil`.
    @discardableResult
    public mutating func remove(_ member: Int) -> Int? { bits.remove(member) }

    /// The ids that are in either set.
    public func union(_ other: IDSet) -> IDSet { IDSet(bits: bits.union(other.bits)) }

    /// The ids that are in both sets.
    public func intersection(_ other: IDSet) -> IDSet { IDSet(bits: bits.intersection(other.bits)) }

    /// The ids that are in one of the sets only.
    public func symmetricDifference(_ other: IDSet) -> IDSet { IDSet(bits: bits.symmetricDifference(other.bits)) }

    /// Adds the ids of another set.
    public mutating func formUnion(_ other: IDSet) { bits.formUnion(other.bits) }

    /// Keeps only the ids that another set has, too.
    public mutating func formIntersection(_ other: IDSet) { bits.formIntersection(other.bits) }

    /// Keeps the ids that are in one of the sets only.
    public mutating func formSymmetricDifference(_ other: IDSet) { bits.formSymmetricDifference(other.bits) }
}

extension IDSet: Sequence {
    /// Walks the ids of a set in ascending order.
    public struct Iterator: IteratorProtocol, Sendable {
        var base: BitSet.Iterator

        /// The next larger id, `nil` after the last.
        public mutating func next() -> Int? { base.next() }
    }

    /// An iterator over the ids in ascending order.
    public func makeIterator() -> Iterator { Iterator(base: bits.makeIterator()) }

    /// The number of ids.
    public var underestimatedCount: Int { bits.count }
}
