/// Kinds of events, as a set.
public struct TraceKinds: OptionSet, Sendable, Hashable {
    /// A bit for each kind, by its raw value.
    public let rawValue: UInt32

    /// Kinds of bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// One kind.
    public init(_ kind: TraceEvent.Kind) { rawValue = 1 << UInt32(kind.rawValue) }

    /// All kinds.
    public static let all = TraceKinds(TraceEvent.Kind.allCases.map(TraceKinds.init))

    /// Those of `cdmfs top`: all but the ones that a replay needs.
    package static let live = all.subtracting(
        TraceKinds(
            [
                .touchFound, .touchRetried, .pagesStored, .pagesFreed, .bufferMade, .bufferRemoved, .requestMade,
                .taskPlaced,
            ].map(TraceKinds.init)))

    /// Whether a kind is one of them.
    public func contains(_ kind: TraceEvent.Kind) -> Bool { contains(TraceKinds(kind)) }
}
