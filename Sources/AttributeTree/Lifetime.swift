/// The lifetime of a part of the tree: until its subject is gone for good.
public struct Lifetime: Sendable {
    private let ended: @Sendable () -> Bool

    /// A lifetime. `isOver` may be called on any thread at any time; after it has returned true, it never returns
    /// false.
    public init(isOver: @escaping @Sendable () -> Bool) { ended = isOver }

    /// Whether the subject is gone.
    public var isOver: Bool { ended() }
}
