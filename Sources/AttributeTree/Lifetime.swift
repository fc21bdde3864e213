/// For how long a part of the tree is there: until its subject goes, once and for good.
public struct Lifetime: Sendable {
    private let ended: @Sendable () -> Bool

    /// A lifetime of which `isOver` tells, on any thread at any time; once it says so it never says otherwise.
    public init(isOver: @escaping @Sendable () -> Bool) { ended = isOver }

    /// Whether the subject is gone.
    public var isOver: Bool { ended() }
}
