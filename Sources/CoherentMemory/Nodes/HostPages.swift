import Synchronization

/// What became of pages of the host that were to move to the node of the host that a node names.
final class HostPages: Sendable {
    let moved = Atomic<UInt64>(0)
    let failed = Atomic<UInt64>(0)
}

extension Node {
    /// The pages of 4 KiB that the host moved to ``hostNode`` because they moved to this node, and those that it could
    /// not move.
    public var hostMigration: (moved: UInt64, failed: UInt64) {
        (hostPages.moved.load(ordering: .relaxed), hostPages.failed.load(ordering: .relaxed))
    }
}
